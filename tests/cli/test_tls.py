"""`crdtsync tls`: certificates that nodes take, keys that nobody else can read, and a look that finds what is wrong."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import crdtsync as library
from crdtsync.ops.cli.main import main
from crdtsync.security.identity import CLIENT, NODE, OPERATOR, Identity
from crdtsync.security.material import Paths, load


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    assert main(["tls", "ca", str(tmp_path / "pki")]) == 0
    return tmp_path / "pki"


def make(pki: Path, role: str, name: str, *more: str) -> int:
    return main(["tls", role, name, "--ca", str(pki), *more])


def paths(pki: Path, stem: str) -> Paths:
    return Paths(*(str(pki / name) for name in ("ca.crt", f"{stem}.crt", f"{stem}.key")))


def found(capsys: pytest.CaptureFixture[str], *files: Path) -> tuple[int, list[dict[str, object]]]:
    capsys.readouterr()
    status = main(["tls", "inspect", *map(str, files), "--output", "json"])
    return status, json.loads(capsys.readouterr().out)


def test_what_it_makes_is_what_nodes_and_clients_take(pki: Path) -> None:
    assert make(pki, "node", "n1", "--host", "127.0.0.1", "--host", "example.org") == 0
    assert make(pki, "client", "bob") == 0
    node, client = load(paths(pki, "n1")), load(paths(pki, "bob"))
    assert node.identity == Identity(NODE, "n1")
    assert {"127.0.0.1", "example.org"} <= set(node.hosts)
    assert client.identity == Identity(CLIENT, "bob")
    with library.open(None, listen="127.0.0.1:0", tls_ca=str(pki / "ca.crt"), tls_cert=str(pki / "n1.crt"),
                      tls_key=str(pki / "n1.key")) as opened:  # fmt: skip
        assert opened.name == "n1"


def test_keys_are_for_their_owner_only(pki: Path) -> None:
    make(pki, "node", "n1")
    for key in ("ca.key", "n1.key"):
        assert stat.S_IMODE((pki / key).stat().st_mode) == 0o600


def test_a_node_called_ca_does_not_replace_the_authority(pki: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in pki.iterdir()}
    for role in ("node", "client"):
        assert make(pki, role, "ca", "--force") == 2
        assert make(pki, role, "ca", "--force", "--out", str(pki / ".." / pki.name)) == 2
    assert {path.name: path.read_bytes() for path in pki.iterdir()} == before
    assert make(pki, "node", "ca", "--out", str(tmp_path / "out")) == 0


def test_nothing_is_replaced_without_force(pki: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(pki, "node", "n1")
    before = {path.name: path.read_bytes() for path in pki.iterdir()}
    assert make(pki, "node", "n1") == 2
    assert main(["tls", "ca", str(pki)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in pki.iterdir()} == before
    assert make(pki, "node", "n1", "--force") == 0
    assert (pki / "n1.crt").read_bytes() != before["n1.crt"]


def test_the_key_of_the_authority_may_be_elsewhere(pki: Path, tmp_path: Path) -> None:
    (pki / "ca.key").rename(tmp_path / "safe.key")
    assert make(pki, "node", "n1") == 1  # there is none
    assert make(pki, "node", "n1", "--ca-key", str(tmp_path / "safe.key"), "--out", str(tmp_path / "out")) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["n1.crt", "n1.key"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("node", ""),
        ("node", "n" * 65),
        ("client", "a\0b"),
        ("node", "n1", "--host", "a b"),
        ("node", "n", "--days", "0"),
    ],
)
def test_what_cannot_be_is_refused(pki: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert make(pki, *arguments) == 2
    assert sorted(path.name for path in pki.iterdir()) == ["ca.crt", "ca.key"]
    assert "Traceback" not in capsys.readouterr().err


def test_names_never_leave_the_folder(pki: Path) -> None:
    assert make(pki, "client", "../../etc/passwd") == 0
    assert load(paths(pki, "%2E.%2F..%2Fetc%2Fpasswd")).identity == Identity(CLIENT, "../../etc/passwd")


def test_inspect_says_who_and_until_when(pki: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(pki, "node", "n1", "--host", "h.example", "--days", "10")
    status, rows = found(capsys, pki / "ca.crt", pki / "n1.crt", pki / "n1.key")
    assert status == 0
    assert [(row["kind"], row["problems"]) for row in rows] == [("ca", []), ("node", []), ("key", [])]
    node = rows[1]
    assert (node["name"], node["key_file"], node["signed_by"]) == ("n1", str(pki / "n1.key"), str(pki / "ca.crt"))
    assert "h.example" in node["hosts"] and node["notes"] == ["ends in 10.0 days"]  # type: ignore[operator]


def test_inspect_shows_the_role(pki: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(pki, "client", "shop") == make(pki, "client", "boss", "--operator") == 0
    assert load(paths(pki, "boss")).identity == Identity(OPERATOR, "boss")
    status, rows = found(capsys, pki / "ca.crt", pki / "shop.crt", pki / "boss.crt")
    assert (status, [(row["kind"], row["name"]) for row in rows[1:]]) == (0, [("client", "shop"), ("operator", "boss")])


def test_inspect_finds_what_does_not_fit(pki: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(pki, "node", "n1")
    make(pki, "client", "bob")
    main(["tls", "ca", str(tmp_path / "other")])
    (tmp_path / "odd.crt").write_text("nothing")
    status, rows = found(capsys, tmp_path / "other" / "ca.crt", pki / "n1.crt", pki / "bob.key", tmp_path / "odd.crt")
    assert status == 5
    assert [row["problems"] for row in rows] == [
        [],
        ["none of the authorities has signed it", "none of the private keys belongs to it"],
        ["belongs to none of the certificates"],
        ["holds neither a certificate nor a plain private key in PEM form"],
    ]


def test_inspect_has_a_table(pki: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.chmod(pki / "ca.key", 0o644)
    capsys.readouterr()
    assert main(["tls", "inspect", str(pki / "ca.crt"), str(pki / "ca.key")]) == 0
    shown = capsys.readouterr().out
    assert "VERDICT" in shown and "good" in shown and "every user of this machine can read it" in shown


def test_without_cryptography_it_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None; from crdtsync.ops.cli.main import main;"
        f"sys.exit(main(['tls', 'ca', {str(tmp_path / 'pki')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "crdtsync[tls]" in done.stderr and "Traceback" not in done.stderr
