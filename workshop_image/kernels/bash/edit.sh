#!/bin/sh
# The editor that programs start in a cell, which has no screen and no keyboard.
echo "An editor cannot run in a cell. Open the file in JupyterLab's file browser, or use a terminal (File > New > Terminal)." >&2
echo "For git, give the message on the line: git commit -m 'What changed'" >&2
exit 1
