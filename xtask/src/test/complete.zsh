# Prints what zsh offers for the line that is its argument: types it into a terminal, with a tab key
# that lists everything.
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1= PROMPT_EOL_MARK= LISTMAX=10000; stty columns 200 -echo; autoload -Uz compinit; compinit -u -D'
zpty -w shell 'zstyle ":completion:*" list-separator " -- "; zstyle ":completion:*:default" list-prompt ""'
# Without -R, zsh would skip the list where something else is typed already.
zpty -w shell 'show() { zle list-choices; zle -R; print; print end-"of"-list }; zle -N show'
zpty -w shell 'bindkey "^I" show; print begin-"of"-list'
zpty -r shell line '*begin-of-list*'
zpty -w -n shell "$1"$'\t'
zpty -r shell line '*end-of-list*'
print -r -- "$line"
zpty -d shell
