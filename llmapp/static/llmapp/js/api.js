// The JSON API. A refusal is an `ApiError` with the server's code; a lost network is a `NetworkError`.

import { config } from "./config.js";

export class NetworkError extends Error {}

export class ApiError extends Error {
  constructor(status, code, message, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

export function get(path) {
  return json("GET", path);
}

export function post(path, body) {
  return json("POST", path, body);
}

export function patch(path, body) {
  return json("PATCH", path, body);
}

export function remove(path) {
  return json("DELETE", path);
}

// Return the response of a request that succeeded; the caller reads its body.
export async function request(method, path, { body, headers = {}, signal } = {}) {
  const response = await attempt(config.root + path, {
    method,
    signal,
    headers: { Accept: "application/json", ...bodyHeaders(method, body), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "same-origin",
    redirect: "error",
  });
  if (!response.ok) throw await refusal(response);
  return response;
}

async function json(method, path, body) {
  const response = await request(method, path, { body });
  return response.status === 204 ? null : response.json().catch(() => null);
}

async function attempt(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new NetworkError(error.message);
  }
}

function bodyHeaders(method, body) {
  const headers = method === "GET" ? {} : { "X-CSRFToken": config.csrf };
  return body === undefined ? headers : { ...headers, "Content-Type": "application/json" };
}

async function refusal(response) {
  // "Not now", by the site or by a proxy before it, is like a network that is lost: try again.
  if ([502, 503, 504].includes(response.status)) return new NetworkError(`http_${response.status}`);
  const body = await response.json().catch(() => ({}));
  const { code = `http_${response.status}`, message = "" } = body.error ?? {};
  return new ApiError(response.status, code, message, Number(response.headers.get("Retry-After")) || null);
}
