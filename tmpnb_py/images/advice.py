"""Turns the results of checking an image into advice with remedies. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tmpnb_py.core.models import ImageFacts
from tmpnb_py.images.results import Advice, KernelTrial, ServerTrial

_LABELS = 'see "Images of your own" in the README'


def lacking(image: ImageFacts, trials: Sequence[ServerTrial]) -> list[Advice]:
    """Advice on what the image does not support, and on everything that failed."""
    advice = []
    if not image.supports_socket:
        advice.append(
            Advice(
                "it does not declare that it can listen on a socket, so it is reached by a port, which is slower",
                "with Jupyter Server 2 or newer, add the label org.tmpnb.socket=true, and a "
                f"start-notebook.sh that accepts --ServerApp.sock; {_LABELS}",
            )
        )
    if not image.supports_read_only or not image.home:
        advice.append(
            Advice(
                "its root is writable and its home unbounded: one visitor can fill this machine's disk",
                f"add the labels org.tmpnb.read-only=true and org.tmpnb.home=/home/…; {_LABELS}",
            )
        )
    if trials and not trials[0].problem and not trials[0].messages:
        advice.append(
            Advice(
                "its JupyterLab shows no messages of operator and teacher, and not when a session is about to end",
                "copy workshop_image/labextension/ to <prefix>/share/jupyter/labextensions/tmpnb-session/: image.md",
            )
        )
    for trial in trials:
        advice += _failed(trial)
    return advice


def without_kernel(needed: Mapping[str, str], trials: Sequence[ServerTrial]) -> list[Advice]:
    """Advice on workshops whose kernel the image lacks. `needed` are kernels by the workshops' slugs."""
    there = {kernel.name for trial in trials for kernel in trial.kernels}
    remedy = "install the kernel, or remove the workshop from the manifest"
    return [
        Advice(f"it lists the workshop {slug}, but has no kernel {kernel} to run it", remedy)
        for slug, kernel in needed.items()
        if there and kernel not in there
    ]


def _failed(trial: ServerTrial) -> list[Advice]:
    if trial.problem:
        text = f"by {trial.transport.value}: {trial.problem}"
        return [Advice(text, trial.remedy or _start_remedy(trial), serious=True)]
    found = [
        Advice(f"by {trial.transport.value}: {one.title}: {one.problem}", _kernel_remedy(one), serious=not one.runs)
        for one in trial.kernels
        if one.problem
    ]
    if not trial.kernels:
        found.append(Advice("it has no kernel", "install one, such as ipykernel", serious=True))
    for notebook in trial.notebooks:
        found += [
            Advice(f"{notebook.path}: {one}", "correct the notebook", serious=True) for one in notebook.problems
        ]
    return found


def _start_remedy(trial: ServerTrial) -> str:
    if trial.log_lines:
        return "its last log lines are above; --command starts another server"
    return "it printed nothing: check that --command starts a server, and that it listens where the command says"


def _kernel_remedy(kernel: KernelTrial) -> str:
    if "No module named" in kernel.problem or "not found" in kernel.problem:
        return "install what is missing; plots in Python need matplotlib"
    if "memory" in kernel.problem or "closed" in kernel.problem or "not end" in kernel.problem:
        return "try more memory with --mem-limit, or more CPU with --cpu-quota"
    return "run the cell in a notebook of this image"
