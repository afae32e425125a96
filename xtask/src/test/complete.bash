# Prints what bash offers for the line that is its argument, as if the tab key had been pressed.
source /usr/share/bash-completion/bash_completion
COMP_LINE=$1
COMP_POINT=${#COMP_LINE}
read -ra COMP_WORDS <<<"$COMP_LINE"
[[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_completion_loader bpfman
function=$(complete -p bpfman)
function=${function##*-F }
function=${function%% *}
"$function" bpfman "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
