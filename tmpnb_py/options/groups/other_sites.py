"""What programs and pages of other sites may do."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from tmpnb_py.core.units import DAY
from tmpnb_py.options import values
from tmpnb_py.options.declaration import Group, Reload, option
from tmpnb_py.options.kinds import Kind, Quantity


class OtherSitesOptions(Group):
    """CORS, frames and clients of BinderHub."""

    title: ClassVar[str] = "API for other sites and programs"

    allow_origin: Annotated[tuple[str, ...], BeforeValidator(values.read_origins), NoDecode] = option(
        (),
        "Sites whose pages may use, from a browser, the API and notebooks whose token they present (comma list such "
        "as https://example.org); * is every site.",
        reload=Reload.AT_ONCE,
    )
    tokenless_origin: Annotated[tuple[str, ...], BeforeValidator(values.read_named_origins), NoDecode] = option(
        (),
        "Sites with clients of the old tmpnb (comma list): like allow_origin, but their pages need not present the "
        "token of a notebook that POST /api/spawn gave them.",
        reload=Reload.AT_ONCE,
    )
    frame_ancestors: Annotated[tuple[str, ...], BeforeValidator(values.read_ancestors), NoDecode] = option(
        (),
        "Sites whose pages may embed workshops' notes in a frame (comma list such as https://lms.example.org or "
        "https://*.example.org; self is this service's own host, * is every site).",
        reload=Reload.AT_ONCE,
    )
    binder_spec: Annotated[tuple[str, ...], BeforeValidator(values.read_binder_specs), NoDecode] = option(
        (),
        "Repositories that clients of BinderHub (thebe) may ask for, each with the workshop that they get (comma "
        "list of gh/org/repo=workshop or, for no workshop in particular, gh/org/repo; @pool after that names one of "
        "several pools); * is any. A repository with the name of a workshop needs no entry.",
        reload=Reload.AT_ONCE,
    )
    allow_methods: Annotated[str, AfterValidator(values.read_header_list)] | None = option(
        None,
        "Methods that pages of allow_origin may use (Access-Control-Allow-Methods).",
        unset="those of each address",
        reload=Reload.AT_ONCE,
    )
    allow_headers: Annotated[str, AfterValidator(values.read_header_list)] | None = option(
        None,
        "Headers that pages of allow_origin may send (Access-Control-Allow-Headers).",
        unset="Authorization, Content-Type, Last-Event-ID; to notebooks all",
        reload=Reload.AT_ONCE,
    )
    expose_headers: Annotated[str, AfterValidator(values.read_header_list)] | None = option(
        None,
        "Headers that pages of allow_origin may read (Access-Control-Expose-Headers).",
        unset="none",
        reload=Reload.AT_ONCE,
    )
    allow_credentials: bool = option(
        False,
        "Whether pages of allow_origin may send cookies to the API (Access-Control-Allow-Credentials); not with *. "
        "Notebooks never see them.",
        reload=Reload.AT_ONCE,
    )
    max_age: Annotated[float | None, Quantity(Kind.DURATION, 0, DAY)] = option(
        None,
        "Time that a browser may cache what pages of allow_origin may do (duration; Access-Control-Max-Age).",
        unset="the browser's own",
        reload=Reload.AT_ONCE,
    )
