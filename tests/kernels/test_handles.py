"""Places and handles by name: the compiled way and the plain one make the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crdtsync.pure.handles import Handles, Places
from crdtsync.pure.state import HandleState, PlaceState
from tests.laws import implementations, load

WAYS: dict[str, Any] = {
    "pure": SimpleNamespace(Places=Places, Handles=Handles, PlaceState=PlaceState, HandleState=HandleState)
}
if "native" in implementations():
    WAYS["native"] = load("native")

NAMES: list[Any] = ["a", "b", "ab", "\u00e9\u4e16", "x" * 255, "", "x" * 256, "a\0b", "\ud800", b"a", None, 7]


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> Any:
    return WAYS[request.param]


class Backend:
    """As much of a bucket as handles are made for."""

    writer, name = None, "b"

    def _place(self, name: Any, code: bytes) -> Any:
        raise LookupError(name)


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_places_do_not_mix_however_few_are_remembered(way: Any, count: int) -> None:
    places = way.Places(way.PlaceState, 255, count)
    for _ in range(2):
        for name in NAMES:
            for code in (b"g", b"l"):
                place = places.of(name, code)
                if NAMES.index(name) >= NAMES.index(""):
                    assert place is None, name
                    continue
                assert (place.name, place.fields, place.code, place.levels) == (name, (), code, ())
                assert place.prefix == name.encode() + b"\0" + code
                assert place.cell(258) == place.prefix + b"\0\0\1\2"


def test_a_place_is_remembered_with_its_cell(way: Any) -> None:
    places = way.Places(way.PlaceState, 255, 16)
    place = places.of("hot", b"g")
    cell = place.cell(3)
    again = places.of("".join(("h", "ot")), b"g")
    assert again is place and again.cell(3) is cell and places.of("hot", b"p") is not place


def test_a_name_is_text_itself(way: Any) -> None:
    class Text(str):
        __slots__ = ()

    places = way.Places(way.PlaceState, 255, 16)
    assert places.of("key", b"g") is not None and places.of(Text("key"), b"g") is None


def test_handles_are_of_the_class_asked_for(way: Any) -> None:
    class Register(way.HandleState):  # type: ignore[misc]
        __slots__ = ()
        CODE = b"l"

    backend = Backend()
    handles = way.Handles(backend, way.Places(way.PlaceState, 255, 16))
    handle = handles.make(Register, "key")
    assert type(handle) is Register and handle._backend is backend and handle._hot is None
    assert handle._place.prefix == b"key\0l" and handles.make(Register, "key")._place is handle._place
    with pytest.raises(LookupError, match="a\0b"):  # the backend says why not
        handles.make(Register, "a\0b")


def test_classes_that_do_not_fit_are_refused(way: Any) -> None:
    class Other:
        CODE = b"l"

    places = way.Places(way.PlaceState, 255, 16)
    handles = way.Handles(Backend(), places)
    for kind in (Other, "Other", None, int):
        with pytest.raises((TypeError, AttributeError)):
            handles.make(kind, "key")
    with pytest.raises(TypeError):
        way.Places(str, 255, 16)
    with pytest.raises(ValueError, match="slot"):
        way.Places(way.PlaceState, 255, 0)
