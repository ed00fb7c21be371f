// Whatever a container, a kernel, a sandbox or another page sent. It may be hostile: whoever reads it checks what it is.
// That is why this is `any` and not `unknown`: the checks are those of each use.
type Untrusted = any;
