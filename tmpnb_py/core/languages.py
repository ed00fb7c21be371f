r"""The one table of languages and kernels. Pure.

Everything that differs between two languages is a field here: how people and site generators name one, what a file of
it ends in, a first cell and a plot to try its kernel with, how the pages colour it, and what its kernel costs. The
Python code asks `find`; the pages' scripts get the same table as JSON (`for_pages`, in web/pages/live_script.py).

To add a kernel: a `Language` below, and its installation in `workshop_image/` (the Dockerfile and `kernels/`). The
image runs without this package, so its lists of file endings are its own; tests compare them with the table
(test_languages.py, test_text_notebooks.py). Regular expressions are in the syntax that Python and JavaScript share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tmpnb_py.core.units import MIB

_LONG = r'''"""[\s\S]*?(?:"""|$)|''' + r"""'''[\s\S]*?(?:'''|$)|"""
_STRINGS = r""""(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?"""


@dataclasses.dataclass(frozen=True, slots=True)
class KernelCost:
    """What a kernel of the workshop image takes, as measured (cli/commands/sizing.py says how).

    CPU seconds of its start; bytes of the whole container once it has started, and at most in a workshop.
    """

    start_cpu: float
    memory_started: int
    memory_workshop: int


@dataclasses.dataclass(frozen=True, slots=True)
class Syntax:
    """How the pages' editor colours code, and where it splits a transcript."""

    keywords: str = ""  # separated by blanks; "" for a language whose code is not coloured while it is edited
    comment: str = r"#[^\n]*"  # a regular expression, as are the next four
    string: str = _STRINGS
    prompt: str = ""  # at the first line of a transcript; "" where transcripts are not known
    continuation: str = ""  # at its further lines of input
    indent: int = 4  # blanks after a line that opens a block


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """A language that kernels run.

    `name` is what kernels' specifications call it, in lower case, and what Pygments does; cells share a kernel by it.
    """

    name: str
    title: str
    kernel: str = ""  # its kernel in the workshop image; "" where the image has none
    aliases: tuple[str, ...] = ()  # other names of the same language
    dialects: tuple[str, ...] = ()  # languages whose code mostly runs in its kernel
    transcripts: tuple[str, ...] = ()  # what site generators call input with prompts and output
    suffix: str = ""  # of a file of code that can be a notebook, as jupytext writes it
    first: str = "1"  # a cell that any kernel of it can run
    plot: str = ""  # a cell that draws; "" where the language draws nothing
    magics: tuple[str, ...] = ()  # chunks in other languages that its kernel passes on to a program
    syntax: Syntax = Syntax()
    cost: KernelCost | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of exactly this language."""
        return tuple(dict.fromkeys((self.name, self.kernel or self.name, *self.aliases)))


PYTHON = Language(
    "python",
    "Python",
    kernel="python3",
    aliases=("py", "py3", "ipython", "ipython3"),
    transcripts=("pycon", "pycon3", "python-console", "ipython-console"),
    suffix=".py",
    plot="import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()",
    magics=("bash", "sh", "javascript", "js"),
    syntax=Syntax(
        keywords=(
            "and as assert async await break class continue def del elif else except finally for from global if "
            "import in is lambda nonlocal not or pass raise return try while with yield True False None"
        ),
        string=_LONG + _STRINGS,
        prompt=">>>(?: |$)",
        continuation=r"\.\.\.(?: |$)",
    ),
    cost=KernelCost(0.32, 87 * MIB, 180 * MIB),  # in the workshop Introduction to Python
)
R = Language(
    "r",
    "R",
    kernel="ir",
    aliases=("rlang", "rscript"),
    transcripts=("rconsole", "rout"),
    suffix=".R",
    plot="plot(c(1, 3, 2))",
    syntax=Syntax(
        keywords="if else for while repeat function in next break TRUE FALSE NULL NA Inf NaN library return",
        prompt="> ",
        continuation=r"\+ ",
        indent=2,
    ),
    cost=KernelCost(0.65, 140 * MIB, 396 * MIB),  # Graphics with ggplot2; 249 MiB in Introduction to R
)
OCTAVE = Language(
    "octave",
    "Octave",
    kernel="octave",
    dialects=("matlab",),
    plot="plot([1 3 2])",
    syntax=Syntax(
        keywords=(
            "if else elseif end endif for endfor while endwhile do until switch case otherwise function endfunction "
            "return break continue try catch end_try_catch unwind_protect"
        ),
        comment=r"[%#][^\n]*",
        # A quotation mark after a value transposes it.
        string=r""""(?:\\.|[^"\\\n])*"?|(?<![\w)\]}'.])'(?:''|[^'\n])*'?""",
    ),
    cost=KernelCost(0.66, 106 * MIB, 138 * MIB),  # Introduction to Octave
)
BASH = Language(
    "bash",
    "Bash",
    kernel="bash",
    aliases=("sh", "shell"),
    dialects=("zsh",),
    transcripts=("console", "shell-session", "shellsession", "bash-session"),
    suffix=".sh",
    first="echo 1",
    syntax=Syntax(
        keywords="if then else elif fi for while until do done case esac in function return export local set",
        comment=r"(?<![^\s;])#[^\n]*",
        prompt=r"\$ ",
    ),
    cost=KernelCost(0.34, 88 * MIB, 103 * MIB),  # The shell for data work
)
GNUPLOT = Language(
    "gnuplot",
    "gnuplot",
    kernel="gnuplot",
    first="print 1",
    plot="plot sin(x)",
    cost=KernelCost(0.43, 98 * MIB, 101 * MIB),  # one plot
)
JULIA = Language(
    "julia",
    "Julia",
    suffix=".jl",
    plot="using Plots; plot([1, 3, 2])",
    syntax=Syntax(
        keywords=(
            "if else elseif end for while function return break continue try catch finally using import struct "
            "module let begin do true false nothing"
        )
    ),
)

LANGUAGES = (PYTHON, R, OCTAVE, BASH, GNUPLOT, JULIA)

_BY_NAME: Mapping[str, Language] = MappingProxyType({name: one for one in LANGUAGES for name in one.names})
_BY_DIALECT: Mapping[str, Language] = MappingProxyType({name: one for one in LANGUAGES for name in one.dialects})


def find(name: str) -> Language | None:
    """The language of a name: its own, its kernel's, or an alias."""
    return _BY_NAME.get(name.lower())


def find_runnable(name: str) -> Language | None:
    """The language whose kernel runs code of this name, which may be that of a dialect."""
    return find(name) or _BY_DIALECT.get(name.lower())


def title(name: str) -> str:
    """A language as people write it."""
    language = find(name)
    return language.title if language else name.capitalize()


def for_pages() -> dict[str, dict[str, Any]]:
    """The table for the pages' scripts: languages by name (`PageLanguage` in live/types.d.ts)."""
    return {
        one.name: {
            "title": one.title,
            "kernel": one.kernel,
            "names": one.names,
            "dialects": one.dialects,
            "transcripts": one.transcripts,
            **dataclasses.asdict(one.syntax),
        }
        for one in LANGUAGES
    }
