"""Documents are tested: the README's example runs and prints what it says; settings and errors are all documented."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec

from crdtsync import errors
from crdtsync.config import Config
from crdtsync.datatypes import jsonform
from crdtsync.ops.files.rows import from_ndjson, to_ndjson

ROOT = Path(__file__).parent.parent
TEXTS = (".py", ".md", ".toml", ".pyx", ".pxd", ".proto", ".txt")


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_readme_example_prints_what_it_says(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (code,) = fenced(readme, "python")
    (output,) = fenced(readme, "output")
    assert len(code.strip().splitlines()) <= 20
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == output


def test_readme_starts_with_the_two_commands() -> None:
    blocks = re.findall(r"^```\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert [line.split("#")[0].strip() for line in blocks[0].splitlines()] == ["make demo", "make test"]


def test_links_lead_somewhere() -> None:
    patterns = ("*.md", "docs/*.md", "proto/*.md", "crdtsync/**/*.md")
    for document in (path for pattern in patterns for path in ROOT.glob(pattern)):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_setting_and_error_is_documented() -> None:
    text = (ROOT / "docs" / "python-api.md").read_text()
    for field in msgspec.structs.fields(Config):
        assert f"`{field.name}`" in text, f"setting {field.name} is not in docs/python-api.md"
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.CrdtsyncError):
            assert f"`{name}`" in text, f"error {name} is not in docs/python-api.md"


def test_cli_reference_is_what_the_commands_say() -> None:
    """So every command, option, setting, variable, exit code and error is in it."""
    code = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(code, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_json_forms_of_the_data_format_are_read() -> None:
    text = (ROOT / "docs" / "data-format.md").read_text()
    forms = re.findall(r"`(\{\"\$(?!set|dict|int).*?\})`", text)
    assert len(forms) >= 7
    for form in forms:
        assert jsonform.dumps(jsonform.loads(form)) == form.replace('": ', '":').replace(", ", ",")
    (lines,) = fenced(text, "json")
    for line in lines.splitlines():
        assert to_ndjson(from_ndjson(line)) == line + "\n"


def test_project_reads_well_alone() -> None:
    """Nothing points outside the repository."""
    outside = re.compile(r"\.\./shared|\.library")
    for path in ROOT.rglob("*"):
        hidden = any(part.startswith(".") and part != ".ci" for part in path.relative_to(ROOT).parts)
        if path.suffix in TEXTS and not hidden and path != Path(__file__):
            assert not outside.search(path.read_text(errors="replace")), path
