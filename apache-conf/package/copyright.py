"""Prints Debian's copyright file: ours, and the notices of all crates that are linked into what is packaged.

Their licences (MIT, BSD, ISC, ...) ask for that. The crates are those of Cargo.lock, from where cargo keeps their sources.
"""

import json
import subprocess
from pathlib import Path

PACKAGED = ["jwt_gate", "jwt-gate"]
NOTICES = ("LICEN", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")

HEAD = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: mod_jwt_gate
Comment: Module and command are linked statically. What they contain of others is listed behind our own.

Files: *
Copyright: the authors of mod_jwt_gate
License: Apache-2.0
 On Debian systems, the full text of the Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.

Files: Rust's standard library
Copyright: The Rust Project Contributors
License: Apache-2.0
"""


def linked() -> list[dict]:
    """The crates that are in the binaries: no build scripts, no macros, no tests."""
    host = next(
        line.removeprefix("host: ")
        for line in subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout.splitlines()
        if line.startswith("host: ")
    )
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={host}"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = set(), [id for id, package in packages.items() if package["name"] in PACKAGED]
    while waiting:
        id = waiting.pop()
        if id in found or any("proc-macro" in target["kind"] for target in packages[id]["targets"]):
            continue
        found.add(id)
        needs = nodes[id]["deps"]
        waiting += [need["pkg"] for need in needs if any(kind["kind"] is None for kind in need["dep_kinds"])]
    others = [packages[id] for id in found if packages[id]["source"]]
    return sorted(others, key=lambda package: (package["name"], package["version"]))


def indented(text: str) -> str:
    return "\n".join(f" {line.rstrip() or '.'}" for line in text.strip().splitlines())


def notices(package: dict) -> list[str]:
    folder = Path(package["manifest_path"]).parent
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name.upper().startswith(NOTICES))
    texts = (file.read_text(errors="replace").strip() for file in files)
    # The Apache License names nobody, and is on every Debian.
    return [text for text in texts if not text.startswith("Apache License")]


print(HEAD, end="")
for package in linked():
    texts = notices(package)
    holders = ", ".join(package["authors"]) or f"the authors of {package['name']}"
    name = f"{package['name']}-{package['version']}"
    print(f"\nFiles: {name}\nCopyright: {holders}\nLicense: {name}\n {package['license']}")
    for text in texts:
        print(f" .\n{indented(text)}")
