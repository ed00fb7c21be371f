# What each shell of a notebook's cells begins with. A cell has no keyboard: what asks for a line reads its end at once, and
# what would take the screen for itself shows all that it has, or says where it works.
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
