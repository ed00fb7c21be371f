"""Names of warm kernels and their packages, wherever they come from: the option, a manifest, an image's label."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.unit.test_manifest import workshop
from tmpnb_py.core import warm
from tmpnb_py.core.errors import ManifestError
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, Egress, ImageFacts, Transport
from tmpnb_py.core.warm import WarmKernel
from tmpnb_py.engines.docker.options import environment_of, facts_of
from tmpnb_py.options.settings import Settings
from tmpnb_py.workshops import manifest

R = WarmKernel("ir", ("tidyverse",))


def config(*kernels: WarmKernel) -> ContainerConfig:
    image = ImageFacts("x", "sha256:x", warm=("python3", "ir"))
    return ContainerConfig(image, "run", Transport.SOCKET, Egress.NONE, 1, 1, 1, 1, 1, 1, warm=kernels)


# --- the option


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("auto", ("auto",)),
        ("none", ()),
        ("", ()),
        ("ir", ("ir",)),
        (" python3, ir,ir ", ("python3", "ir")),
        (["python3", "ir"], ("python3", "ir")),
        ("julia-1.11,xeus-cpp_17", ("julia-1.11", "xeus-cpp_17")),
    ],
)
def test_the_option(text: object, read: tuple[str, ...]) -> None:
    assert Settings(warm_kernels=text).warm_kernels == read  # type: ignore[arg-type]


def test_the_default_is_automatic() -> None:
    assert Settings().warm_kernels == (warm.AUTO,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("auto,ir", 'holds "auto", which goes with nothing else'),
        ("ir,none", 'holds "none", which goes with nothing else'),
        ("a b", 'holds "a b", which is no kernel\'s name: write python3,ir'),
        ("../x", "which is no kernel's name"),
        ("-x", "which is no kernel's name"),
        ("x" * 65, "which is no kernel's name"),
        (",".join(f"k{number}" for number in range(9)), "names 9 kernels: give at most 8"),
        (7, "is not a list: write python3,ir"),
    ],
)
def test_a_slip_in_the_option_is_told(text: object, told: str) -> None:
    with pytest.raises(ValidationError, match=r".*") as caught:
        Settings(warm_kernels=text)  # type: ignore[arg-type]
    assert told in str(caught.value)


# --- the manifest


def test_the_kernel_of_a_workshop() -> None:
    """It is the language's, unless the manifest names one."""
    assert workshop().kernel == "ir"
    assert workshop(language="Python").kernel == "python3"
    assert workshop(language="Klingon").kernel == ""
    assert workshop(language="Klingon", warm="tlh").kernel == "tlh"
    cold = workshop(warm="none")
    assert (cold.kernel, cold.is_cold, workshop().is_cold) == ("ir", True, False)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('warm = "a b"', 'warm cannot be "a b": write the kernel that its notebooks use'),
        ('warm = ""', 'warm cannot be ""'),
        ("warm = 3", "warm cannot be 3"),
        ('preload = "tidyverse"', 'preload cannot be "tidyverse": write the packages to load'),
        ('preload = ["os; import evil"]', "preload cannot be"),
        ('preload = ["a\'b"]', "preload cannot be"),
        ('preload = ["a..b"]', "preload cannot be"),
        ('preload = [""]', "preload cannot be"),
        ("preload = [1]", "preload cannot be"),
        (f'preload = ["{"x" * 65}"]', "preload cannot be"),
        (f"preload = {[f'p{number}' for number in range(17)]}", "at most 16"),
        ('preloads = ["a"]', '"preloads" is unknown: did you mean preload?'),
    ],
)
def test_mistakes_in_the_manifest_are_told(line: str, told: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifest.parse(f"{manifest.EXAMPLE}{line}\n")
    assert told in caught.value.message


def test_a_manifest_comes_back_as_it_was() -> None:
    text = f'{manifest.EXAMPLE}warm = "ir"\npreload = ["tidyverse", "ggplot2"]\n'
    read = manifest.parse(text)
    assert read.workshops[0].preload == ("tidyverse", "ggplot2")
    assert manifest.parse(manifest.dump(read)) == read


# --- the label, and what a container is told


def test_a_hostile_label_is_cut_to_what_can_be() -> None:
    label = "python3 ir ../x $(reboot) ir " + " ".join(f"k{number}" for number in range(100))
    labels = {"org.tmpnb.warm": label}
    found = facts_of("x", {"Id": "sha256:x", "Config": {"Labels": labels}}).warm
    assert found == ("python3", "ir", "k0", "k1", "k2", "k3", "k4", "k5")
    assert facts_of("x", {"Id": "sha256:x", "Config": {}}).warm == ()
    assert len(warm.read_label("a " * 1_000_000)) == 1


@given(st.text(max_size=80))
def test_whatever_is_a_name_is_harmless_in_code(text: str) -> None:
    for is_one in (warm.is_kernel, warm.is_package):
        if is_one(text):
            assert text.isascii()
            assert not set(text) & set(" \"'`$;\\/\n\r\t(){}[]<>&|*?!,=")
            assert len(text) <= 64


def test_a_container_is_told_what_to_start() -> None:
    def told(*kernels: WarmKernel) -> list[str]:
        lines = environment_of(ContainerSpec("x", "", config(*kernels)))
        return [one for one in lines if one.startswith("TMPNB_WARM")]

    assert told() == []
    (line,) = told(R, WarmKernel("python3"))
    assert json.loads(line.partition("=")[2]) == {
        "kernels": {"ir": ["tidyverse"], "python3": []},
        "unused_seconds": 60,
    }


def test_another_choice_is_another_configuration() -> None:
    configs = [config(), config(R), config(WarmKernel("ir")), config(WarmKernel("python3"))]
    assert len({one.digest for one in configs}) == 4
