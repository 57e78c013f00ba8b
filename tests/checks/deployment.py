"""The files of the story: one application in three services, its database and cache."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

COMPOSE = """\
    # The bots' instance, v3.5.3 since spring
    version: '3'
    x-app: &app
      build:
        context: .
        args: {MASTODON_VERSION: v3.5.3}
      image: registry.example.org:5000/bots/mastodon:${TAG:-v3.5.3}
      restart: always
    services:
      db:
        image: postgres:POSTGRES
        volumes: ['./data:/var/lib/postgresql/data']
      redis:
        image: redis:6-alpine   # 6, not v3.5.3
      web:
        <<: *app
        command: bundle exec puma
      streaming:
        <<: *app
        command: node ./streaming
      sidekiq:
        extends: {service: web}
        image: "registry.example.org:5000/bots/mastodon:v3.5.3"
        command: bundle exec sidekiq
    """
DOCKERFILE = """\
    ARG MASTODON_VERSION=v3.5.3
    FROM node:16-bookworm AS assets
    RUN <<END
    SELECT id
    FROM accounts
    END
    FROM tootsuite/mastodon:${MASTODON_VERSION}
    # over the files of v3.5.3
    COPY --from=assets /files /opt/mastodon/
    ENV BOTS_VERSION=3.5.3 \\
        RAILS_ENV=production
    """
ENV = """\
    TAG=v3.5.3
    DB_PASS=hush-hush
    """


def put(where: Path, **files: str) -> Path:
    """Write files, dedented; ``compose`` is the compose file, whose path is returned."""
    names = {"compose": "docker-compose.yml", "env": ".env", "dockerfile": "Dockerfile"}
    for name, text in files.items():
        (where / names.get(name, f"{name}.yml")).write_text(dedent(text), "utf-8")
    return where / "docker-compose.yml"


def story(where: Path, postgres: str = "9.6") -> Path:
    """Write the story's files; return the compose file."""
    text = COMPOSE.replace("POSTGRES", postgres)
    return put(where, compose=text, dockerfile=DOCKERFILE, env=ENV)


def data(where: Path, major: str) -> None:
    """Write what tells the major of a data directory."""
    where.mkdir(parents=True, exist_ok=True)
    (where / "PG_VERSION").write_text(f"{major}\n", "ascii")


def tree(where: Path) -> dict[str, bytes]:
    """Read every file below a directory, hidden ones too."""
    return {str(path.relative_to(where)): path.read_bytes()
            for path in sorted(where.rglob("*")) if path.is_file()}
