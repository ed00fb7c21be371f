print GPVAL_PWD
show variables all
show all
print system("env | sort; umask")
