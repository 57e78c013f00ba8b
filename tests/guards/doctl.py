"""The three commands of doctl that the steps back print, with their options as documented.

Source: https://docs.digitalocean.com/reference/doctl/reference/compute/volume/ and …/volume-action/
"""

from __future__ import annotations

import argparse
import os
import sys

import requests


def main() -> None:
    parser = argparse.ArgumentParser(prog="doctl", allow_abbrev=False)
    compute = parser.add_subparsers(required=True).add_parser("compute").add_subparsers(
        required=True
    )
    create = compute.add_parser("volume").add_subparsers(required=True).add_parser("create")
    create.set_defaults(method=created)
    create.add_argument("name")
    create.add_argument("--size", default="4TiB")
    where = create.add_mutually_exclusive_group(required=True)
    where.add_argument("--region")
    where.add_argument("--snapshot")
    create.add_argument("--format", required=True, choices=["ID"])
    create.add_argument("--no-header", action="store_true", required=True)
    actions = compute.add_parser("volume-action").add_subparsers(required=True)
    for kind in ("attach", "detach"):
        action = actions.add_parser(kind)
        action.set_defaults(method=acted, kind=kind)
        action.add_argument("volume")
        action.add_argument("droplet", type=int)
        action.add_argument("--wait", action="store_true", required=True)
    given = parser.parse_args()
    given.method(given)


def created(given: argparse.Namespace) -> None:
    body = {"name": given.name, "snapshot_id": given.snapshot,
            "size_gigabytes": int(given.size.removesuffix("GiB"))}  # fmt: skip
    sys.stdout.write(post("", body)["volume"]["id"] + "\n")


def acted(given: argparse.Namespace) -> None:
    post(f"/{given.volume}/actions", {"type": given.kind, "droplet_id": given.droplet})


def post(path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
    answer = requests.post(
        f"{os.environ['DIGITALOCEAN_API_URL']}/v2/volumes{path}",
        json=body,
        headers={"Authorization": f"Bearer {os.environ['DIGITALOCEAN_ACCESS_TOKEN']}"},
        timeout=60,
    )
    answer.raise_for_status()
    found: dict[str, dict[str, str]] = answer.json()
    return found


main()
