import { render } from 'preact'
import { App } from './app.tsx'
import { apply } from './theme.ts'

apply()
const place = document.getElementById('page')
if (place !== null) render(<App />, place)
