"""Generate crdtsync/transport/pb from the .proto files in a throw-away environment, or check that it is up to date.

    python proto/generate.py            write crdtsync/transport/pb
    python proto/generate.py --check    exit 1 when the committed files differ from what would be generated

The generator wants an older protobuf than the one that crdtsync runs on, so it lives in its own virtual environment:
.proto-venv beside the repository's files, made when missing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

GENERATOR = "grpcio-tools==1.72.2"  # protobuf 6.30 code, which protobuf 6.30 up to 7.x load
ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
PACKAGE = Path("crdtsync/transport/pb")
ENVIRONMENT = ROOT / ".proto-venv"
INIT = '"""Protobuf code generated from proto/ by proto/generate.py: never edited by hand."""\n'


def generator_python() -> Path:
    """The interpreter of the generator's environment, which is made or renewed when it is not the pinned one."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "generator.txt"
    if not (python.exists() and stamp.exists() and stamp.read_text() == GENERATOR):
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", GENERATOR], check=True)
        stamp.write_text(GENERATOR)
    return python


def generate(target: Path) -> dict[str, str]:
    """Run protoc into `target`; return {path below crdtsync/transport/pb: text}."""
    sources = [f"{PACKAGE}/{path.name}" for path in sorted(PROTO.glob("*.proto"))]
    # The mapping gives every file its place in the package, so that generated imports are absolute and right.
    mapping = f"-I{PACKAGE}={PROTO}"
    outputs = [f"--python_out={target}", f"--pyi_out={target}"]
    subprocess.run([generator_python(), "-m", "grpc_tools.protoc", mapping, *outputs, *sources], check=True)
    texts = {path.name: path.read_text() for path in sorted((target / PACKAGE).iterdir()) if path.is_file()}
    return {"__init__.py": INIT, **texts}


def stale(texts: dict[str, str]) -> list[str]:
    """Names of committed files that are missing, left over, or differ from `texts`."""
    committed = {path.name: path.read_text() for path in (ROOT / PACKAGE).glob("*.py*") if path.is_file()}
    return sorted(name for name in texts.keys() | committed.keys() if texts.get(name) != committed.get(name))


def write(texts: dict[str, str], names: list[str]) -> None:
    """Bring the committed files named in `names` to what `texts` says."""
    for name in names:
        path = ROOT / PACKAGE / name
        if name in texts:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[name])
        else:
            path.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 on a difference")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as directory:
        texts = generate(Path(directory))
    names = stale(texts)
    if not check:
        write(texts, names)
    print(f"{PACKAGE}: {', '.join(names) + (' differ' if check else ' written') if names else 'up to date'}")
    return 1 if check and names else 0


if __name__ == "__main__":
    sys.exit(main())
