/** Dark or light: as the system says, until a person says otherwise here. */
import { cell } from './cell.ts'

export const themes = ['system', 'light', 'dark'] as const
export type Theme = (typeof themes)[number]

const key = 'millrace-theme'
const systemDark = matchMedia('(prefers-color-scheme: dark)')

export const theme = cell<Theme>(themes.find((name) => name === localStorage.getItem(key)) ?? 'system')
/** What is shown: charts are drawn anew when it changes. */
export const shownTheme = cell<'light' | 'dark'>(shownNow())

export function chooseTheme(next: Theme): void {
  if (next === 'system') localStorage.removeItem(key)
  else localStorage.setItem(key, next)
  theme.set(next)
  apply()
}

export function apply(): void {
  const shown = shownNow()
  document.documentElement.setAttribute('data-theme', shown)
  shownTheme.set(shown)
}

function shownNow(): 'light' | 'dark' {
  const chosen = theme.get()
  return chosen === 'system' ? (systemDark.matches ? 'dark' : 'light') : chosen
}

systemDark.addEventListener('change', apply)
