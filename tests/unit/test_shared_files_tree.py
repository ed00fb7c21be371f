"""What of an image is shared and how it is named; which form of a file a client gets."""

from __future__ import annotations

import pytest

from tmpnb_py.core.http_negotiation import is_not_modified
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, Egress, ImageFacts, Transport
from tmpnb_py.engines.docker.options import create_body, facts_of
from tmpnb_py.shared_files.tree import SharedFile, Tree, content_type, etag, named

ENTRY = SharedFile("ab" * 32, 5)


def test_only_known_kinds_of_files_are_shared_under_their_public_names() -> None:
    found = {
        f"/opt/lab/static/{name}": b"x" for name in ("a.1f.js", "@o/p/b.css", "index.html", "x.js.map", "LOGO.SVG")
    }
    assert named("static/lab", "/opt/lab/static", found) == {
        "static/lab/a.1f.js": b"x",
        "static/lab/@o/p/b.css": b"x",
        "static/lab/LOGO.SVG": b"x",
    }


@pytest.mark.parametrize(
    "path",
    [
        "/elsewhere/a.js",
        "/d/a\n.js",
        "/d/\udcff.js",
        "/d/a\\b.js",
        f"/d/{'x' * 500}.js",
        "/d/.js",
        "/d/a.php",
        "/d/a",
    ],
)
def test_odd_names_are_left_out(path: str) -> None:
    assert named("s", "/d", {path: b""}) == {}


def test_no_kind_that_is_shared_is_a_page() -> None:
    for suffix in ("html", "htm", "xhtml", "xml", "pdf", "shtml", "swf", "HTML"):
        assert content_type(f"a.{suffix}") is None


def test_an_address_changes_with_names_and_contents_only() -> None:
    tree = Tree({"a.js": ENTRY, "b.js": SharedFile("cd" * 32, 7)})
    assert Tree({"b.js": tree.files["b.js"], "a.js": ENTRY}).digest == tree.digest
    assert len({tree.digest, Tree({"a.js": ENTRY}).digest, Tree({"b.js": ENTRY}).digest}) == 3


def test_each_form_has_its_own_tag_and_any_of_them_says_that_the_client_has_it() -> None:
    tags = [etag(ENTRY, coding) for coding in ("", "gzip", "br")]
    assert len(set(tags)) == 3
    assert all(is_not_modified(f'"x", W/{tag}', tag) for tag in tags)
    assert is_not_modified("*", tags[0])
    assert not is_not_modified("", tags[0])
    assert not is_not_modified(tags[1], tags[0])  # another form of the file is not what the client would get
    assert not is_not_modified(etag(SharedFile("cd" * 32, 5), "br"), etag(ENTRY, "br"))


@pytest.mark.parametrize(
    ("label", "users"),
    [
        ("1000-2999", (1000, 2999)),
        ("7-7", (7, 7)),
        *((label, None) for label in ("", "0-10", "9-8", "1000-65534", "1000", "a-b", "1-2 ", "-1-5", "1000-99999")),
    ],
)
def test_the_users_of_an_image(label: str, users: tuple[int, int] | None) -> None:
    assert facts_of("x", {"Id": "sha256:x", "Config": {"Labels": {"org.tmpnb.users": label}}}).users == users


@pytest.mark.parametrize(
    ("label", "static"),
    [
        ("static/lab=/a lab/extensions=/b", (("static/lab", "/a"), ("lab/extensions", "/b"))),
        ("", ()),
        ("static/lab static=relative ../x=/a /y=/a a//b=/a A=/a x=/a:b ok=/c", (("ok", "/c"),)),
        (" ".join(f"p{number}=/d" for number in range(99)), tuple((f"p{number}", "/d") for number in range(16))),
    ],
)
def test_an_image_says_in_a_label_where_its_files_are(label: str, static: tuple[tuple[str, str], ...]) -> None:
    assert facts_of("x", {"Id": "sha256:x", "Config": {"Labels": {"org.tmpnb.static": label}}}).static == static


def test_a_container_is_told_the_address() -> None:
    def environment(url: str) -> list[str]:
        config = ContainerConfig(
            ImageFacts("x", "sha256:x"), "run", Transport.SOCKET, Egress.NONE, 1, 1, 1, 1, 1, 1, static_url=url
        )
        body = create_body("p", ContainerSpec("a", "", config), socket_source=None, hosts_source=None, init=False)
        return [one for one in body["Env"] if one.startswith("TMPNB_STATIC_URL")]

    assert environment("/static/abc") == ["TMPNB_STATIC_URL=/static/abc"]
    assert environment("") == []


def test_an_image_says_that_its_notebooks_take_archives() -> None:
    for label, restores in (("true", True), ("", False), ("yes", False)):
        labels = {"org.tmpnb.restore": label}
        assert facts_of("x", {"Id": "sha256:x", "Config": {"Labels": labels}}).restores is restores


@pytest.mark.parametrize(
    ("label", "interfaces"),
    [
        ("rstudio", ("rstudio",)),
        ("rstudio  voila\nproxy", ("rstudio", "voila", "proxy")),
        ("../x a/b .. x y,z", ("x",)),
        ("", ()),
    ],
)
def test_an_image_names_its_interfaces(label: str, interfaces: tuple[str, ...]) -> None:
    labels = {"org.tmpnb.interfaces": label}
    assert facts_of("x", {"Id": "sha256:x", "Config": {"Labels": labels}}).interfaces == interfaces
