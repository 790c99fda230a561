/** The scripts that complete command lines, for three shells; each is printed from the same grammar. */
import type { Completed, CompletedOption, CompletedVerb, Grammar } from './completions.ts'

// ---- bash ----------------------------------------------------------------------------------------------------------

/** Works in bash 3.2 too, as macOS has it: where nothing is proposed, bash completes paths by itself. */
export function bashScript(grammar: Grammar): string {
  const { verbs, groups } = grammar
  const first = [...new Set(verbs.map(({ name }) => name.split(' ')[0] ?? ''))]
  const values = verbs.flatMap(({ name, options }) =>
    options.flatMap((option) => {
      const action = option.value && bashValues(option.value, grammar)
      return action === undefined ? [] : [`    '${name} --${option.name}') ${action} ;;`]
    }),
  )
  return `# completions of millrace for bash: source this file, or append it to ~/.bashrc
_millrace_propose() {
  local IFS=$'\\n '
  COMPREPLY=($(compgen -W "$1" -- "$2"))
}
_millrace_paths() { COMPREPLY=(); }
_millrace_nothing() {
  COMPREPLY=()
  type compopt >/dev/null 2>&1 && compopt +o default 2>/dev/null
  return 0
}
_millrace() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" verb="\${COMP_WORDS[1]}" at=2
  # --option=value comes in three words
  if [ "$cur" = = ]; then cur=
  elif [ "$prev" = = ]; then prev="\${COMP_WORDS[COMP_CWORD-2]}"
  fi
  if [ "$COMP_CWORD" -eq 1 ]; then _millrace_propose '${[...first, 'help'].join(' ')}' "$cur"; return; fi
  if [ "$verb" = help ] && [ "$COMP_CWORD" -eq 2 ]; then _millrace_propose '${first.join(' ')}' "$cur"; return; fi
  case "$verb" in
${groups
  .map((group) => {
    const seconds = secondsOf(group, verbs).map(({ name }) => name.split(' ')[1])
    return `    ${group})
      if [ "$COMP_CWORD" -eq 2 ]; then _millrace_propose '${seconds.join(' ')}' "$cur"; return; fi
      verb="$verb \${COMP_WORDS[2]}" at=3 ;;`
  })
  .join('\n')}
  esac
  case "$verb $prev" in
${values.map((line) => line.replace(' ;;', '; return ;;')).join('\n')}
  esac
  case "$cur" in
    -*)
      case "$verb" in
${verbs.map(({ name, options }) => `        '${name}') _millrace_propose '${options.map((option) => `--${option.name}`).join(' ')}' "$cur" ;;`).join('\n')}
      esac
      return ;;
  esac
  case "$verb" in
${verbs.map((verb) => `    '${verb.name}') ${bashWords(verb, grammar)} ;;`).join('\n')}
  esac
}
complete -o default -F _millrace millrace
`
}

function bashValues(value: Completed, { pipelines }: Grammar): string {
  switch (value.is) {
    case 'pipelines':
      return `_millrace_propose '${pipelines.join(' ')}' "$cur"`
    case 'paths':
      return '_millrace_paths'
    case 'some of':
      return `_millrace_propose '${value.values.join(' ')}' "$cur"`
    case 'anything':
      return '_millrace_nothing'
  }
}

function bashWords({ words }: CompletedVerb, grammar: Grammar): string {
  const action = bashValues(words, grammar)
  // only one word is one of those named
  return words.is === 'some of' ? `[ "$COMP_CWORD" -eq "$at" ] && ${action}` : action
}

// ---- zsh -----------------------------------------------------------------------------------------------------------

export function zshScript(grammar: Grammar): string {
  const { verbs, groups, pipelines } = grammar
  const single = verbs.filter(({ name }) => !name.includes(' '))
  const described = [
    ...single.map(({ name, says }) => zshPair(name, says)),
    ...groups.map((group) => zshPair(group, groupSays(group, verbs))),
    zshPair('help', 'Says more of a verb.'),
  ]
  return `#compdef millrace
# completions of millrace for zsh: name this file _millrace and put it into a folder of $fpath, or source it
_millrace_pipelines() {
  local -a pipelines=(${pipelines.map(quoted).join(' ')})
  _alternative 'pipelines:pipeline:compadd -a pipelines' 'files:pipeline of your own:_files -g "*.(ts|mts|js|mjs)(-.)"'
}
_millrace() {
  local -a verbs=(
${described.map((pair) => `    ${pair}`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe -t verbs 'verb' verbs
    return
  fi
  local verb=$words[2]
  if [[ $verb == help ]]; then
    (( CURRENT == 3 )) && _describe -t verbs 'verb' verbs
    return
  fi
  case $verb in
${groups
  .map(
    (group) => `    ${group})
      if (( CURRENT == 3 )); then
        local -a seconds=(
${secondsOf(group, verbs)
  .map(({ name, says }) => `          ${zshPair(name.split(' ')[1] ?? '', says)}`)
  .join('\n')}
        )
        _describe -t verbs 'verb' seconds
        return
      fi
      verb="$verb $words[3]"
      shift words
      (( CURRENT-- )) ;;`,
  )
  .join('\n')}
  esac
  shift words
  (( CURRENT-- ))
  case $verb in
${verbs.map((verb) => `    ${quoted(verb.name)})\n      _arguments -S ${[...verb.options.map(zshOption), ...zshWords(verb.words)].join(' \\\n        ')} ;;`).join('\n')}
  esac
}
if [[ $funcstack[1] == _millrace ]]; then _millrace "$@"; else compdef _millrace millrace; fi
`
}

function zshOption({ name, says, multiple, value }: CompletedOption): string {
  const what = value === undefined ? '' : `:value:${zshAction(value)}`
  return quoted(
    `${multiple ? '*' : ''}--${name}${value === undefined ? '' : '='}[${says.replace(/[\\[\]:]/g, '\\$&')}]${what}`,
  )
}

function zshWords(words: Completed): string[] {
  if (words.is === 'anything') return []
  return [
    quoted(
      `${words.is === 'pipelines' ? '*' : '1'}:${words.is === 'pipelines' ? 'pipeline' : 'word'}:${zshAction(words)}`,
    ),
  ]
}

function zshAction(value: Completed): string {
  switch (value.is) {
    case 'pipelines':
      return '_millrace_pipelines'
    case 'paths':
      return '_files'
    case 'some of':
      return `(${value.values.join(' ')})`
    case 'anything':
      return ' '
  }
}

function zshPair(name: string, says: string): string {
  return quoted(`${name}:${says.replaceAll(':', '\\:')}`)
}

// ---- fish ----------------------------------------------------------------------------------------------------------

export function fishScript(grammar: Grammar): string {
  const { verbs, groups } = grammar
  const single = verbs.filter(({ name }) => !name.includes(' '))
  const verb = (name: string, says: string, at: string): string =>
    `complete -c millrace -n ${quoted(at)} -a ${name} -d ${quoted(says)}`
  return `# completions of millrace for fish: put this file into ~/.config/fish/completions/ as millrace.fish
function __millrace_at
    set -l words (commandline -opc)
    test "$words[2..]" = "$argv"
end
function __millrace_in
    set -l words (commandline -opc)
    set -l last (math 1 + (count $argv))
    test (count $words) -ge $last; and test "$words[2..$last]" = "$argv"
end
complete -c millrace -f
${[
  ...single.map(({ name, says }) => verb(name, says, '__millrace_at')),
  ...groups.map((group) => verb(group, groupSays(group, verbs), '__millrace_at')),
  verb('help', 'Says more of a verb.', '__millrace_at'),
  ...single.map(({ name, says }) => verb(name, says, '__millrace_at help')),
  ...groups.map((group) => verb(group, groupSays(group, verbs), '__millrace_at help')),
  ...groups.flatMap((group) =>
    secondsOf(group, verbs).map(({ name, says }) => verb(name.split(' ')[1] ?? '', says, `__millrace_at ${group}`)),
  ),
  ...verbs.flatMap(({ name, options, words }) => [
    ...options.map((option) => fishOption(name, option, grammar)),
    ...fishWords(name, words, grammar),
  ]),
].join('\n')}
`
}

function fishOption(verb: string, { name, says, value }: CompletedOption, grammar: Grammar): string {
  const takes = value === undefined ? '' : ` -r ${fishValues(value, grammar)}`
  return `complete -c millrace -n ${quoted(`__millrace_in ${verb}`)} -l ${name}${takes.trimEnd()} -d ${quoted(says)}`
}

function fishWords(verb: string, words: Completed, grammar: Grammar): string[] {
  if (words.is === 'anything') return []
  const at = words.is === 'some of' ? `__millrace_at ${verb}` : `__millrace_in ${verb}`
  return [`complete -c millrace -n ${quoted(at)} ${fishValues(words, grammar)}`]
}

function fishValues(value: Completed, { pipelines }: Grammar): string {
  switch (value.is) {
    case 'pipelines':
      return `-F -a ${quoted(pipelines.join(' '))}`
    case 'paths':
      return '-F'
    case 'some of':
      return `-f -a ${quoted(value.values.join(' '))}`
    case 'anything':
      return '-f'
  }
}

// ---- all three -----------------------------------------------------------------------------------------------------

function secondsOf(group: string, verbs: CompletedVerb[]): CompletedVerb[] {
  return verbs.filter(({ name }) => name.startsWith(`${group} `))
}

function groupSays(group: string, verbs: CompletedVerb[]): string {
  return secondsOf(group, verbs)
    .map(({ name }) => name.split(' ')[1])
    .join(', ')
}

// As all three shells read it.
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
