# The demo site in a container: web, worker and every command of manage.py. For a site of your own, copy your project
# instead of `project/`, and name its packages in a requirements file beside.

FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 MALLOC_ARENA_MAX=2
WORKDIR /srv/llmapp

RUN useradd --system --create-home --uid 10001 llmapp && install -d -o llmapp -m 0700 var && install -d -o llmapp static-files

# Packages first: they change less often than the code.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY llmapp llmapp
RUN pip install -c constraints.txt .

COPY manage.py ./
COPY project project
COPY templates templates
COPY static static

USER llmapp
EXPOSE 8000
CMD ["daphne", "-b", "0.0.0.0", "-p", "8000", "project.asgi:application"]
