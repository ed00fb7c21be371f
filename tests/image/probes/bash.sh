pwd; dirs; echo "${OLDPWD-none}"; echo "$?" "$-" "$#" "$0" "$!" "$SHLVL" "$LINENO"
(( SECONDS < 5 )) && echo young
declare -p; declare -f; set -o; shopt; alias; trap -p; umask; ulimit -a; env | sort; history; jobs; stty -a; bind -v; hash
readlink /proc/$$/cwd; ls -a; tr '\0' '\n' < /proc/$$/environ | sort; ls /proc/$$/fd; ps -o pgid=,tpgid=,pri=,ni=,comm= -p $$ | tr -d '0-9 '
