# Prints what fish offers for the line that is its argument.
complete -C $argv[1]
