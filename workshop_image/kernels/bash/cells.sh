# Read by each shell of a notebook's cells at its start. Cells have no keyboard: programs that read a line get its end, and
# full-screen programs print everything, or tell where they work.
export PAGER=cat GIT_PAGER=cat MANPAGER=cat SYSTEMD_PAGER=cat
export EDITOR="sh $1" VISUAL="sh $1"
HISTCONTROL=ignorespace
less() { command less "$@" | cat; }
more() { command more "$@" | cat; }
top() { command top -b -n 1 "$@"; }
nano() { $EDITOR; }
pico() { $EDITOR; }
vi() { $EDITOR; }
vim() { $EDITOR; }
emacs() { $EDITOR; }
history -c
