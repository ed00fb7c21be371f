"""bash_kernel without the 50 ms that pexpect waits before each line it sends: those are two seconds at each start."""

import pexpect
from ipykernel.kernelapp import IPKernelApp


class _Spawn(pexpect.spawn):  # type: ignore[type-arg, misc]
    """The pause is for programs that turn the terminal's echo off to read a password; bash starts without echo."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.delaybeforesend = None


pexpect.spawn = _Spawn

from bash_kernel.kernel import BashKernel  # noqa: E402 - it has to find the class above

IPKernelApp.launch_instance(kernel_class=BashKernel)
