"""The doors for programs: HTTP with JSON and server-sent events. The websocket is in `llmapp.consumers`.

Rules of the room:

* A handler is a plain function that talks to the database and to `llmapp.runs`; it runs in a thread.
  Only `bridge` crosses between that thread and the event loop, and it leaves no connection behind.
* A handler decides nothing about runs: it reads a request, names an action and says what came of it.
* What is not there and what belongs to somebody else get the same answer.
"""
