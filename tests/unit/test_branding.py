"""Whatever accent an operator chooses can be read; a logo that cannot be used is told so."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.branding import ACCENT, Branding, contrast, ink_on, read_logo, readable
from tmpnb_py.core.errors import SettingsError

colors = st.integers(0, 0xFFFFFF).map(lambda value: f"#{value:06x}")
GROUNDS = ("#f1f2ef", "#23282f", "#ffffff", "#14171c")


@given(color=colors, ground=st.sampled_from(GROUNDS))
def test_every_accent_can_be_read_on_every_ground(color: str, ground: str) -> None:
    shown = readable(color, ground)
    assert contrast(shown, ground) >= 4.5
    assert contrast(ink_on(shown), shown) >= 4.5
    if contrast(color, ground) >= 4.5:
        assert shown == color


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_only_another_accent_needs_rules() -> None:
    assert Branding().style == Branding(accent=ACCENT).style == ""
    assert "--accent:#990000" in Branding(accent="#990000").style
    assert "prefers-color-scheme:dark" in Branding(accent="#990000").style


def test_a_logo(tmp_path: Path) -> None:
    assert read_logo(None) is None
    picture = tmp_path / "logo.SVG"
    picture.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    logo = read_logo(picture)
    assert logo is not None
    assert logo.content_type == "image/svg+xml"
    picture.write_text("<svg/>")
    assert (changed := read_logo(picture)) is not None
    assert changed.digest != logo.digest


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("logo.gif", b"x", "no SVG, PNG"),
        ("logo.png", b"", "is empty"),
        ("logo.png", b"x" * (256 * 1024 + 1), "larger than 256 KiB"),
        ("logo.png", None, "cannot be read"),
    ],
)
def test_a_logo_that_cannot_be_used(tmp_path: Path, name: str, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SettingsError, match=said):
        read_logo(tmp_path / name)
