import { fit, plain } from './text.ts'

export interface Screen {
  /** Replaces the lines that were drawn before. */
  draw(lines: readonly string[]): void
  /** A line that stays, above what is drawn. */
  print(line: string): void
  /** Leaves what is drawn as it is. */
  end(): void
}

const HIDE = '\u001b[?25l'
const SHOW = '\u001b[?25h'

/**
 * Redraws a few lines at the bottom of a terminal. The cursor stands at the beginning of the line below them; to redraw, it goes up by
 * their number and the rest of the screen is erased (ECMA-48: CUU, ED).
 */
export function openScreen(write: (text: string) => void, columns: () => number): Screen {
  let drawn: readonly string[] = []
  let hidden = false
  const erase = (): string => (drawn.length > 0 ? `\u001b[${drawn.length}A\r\u001b[J` : '')
  const put = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('')
  return {
    draw(lines) {
      write(`${hidden ? '' : HIDE}${erase()}${put(lines)}`)
      hidden = true
      drawn = lines
    },
    print(line) {
      write(`${erase()}${put([fit(plain(line), Math.max(1, columns() * 4)), ...drawn])}`)
    },
    end() {
      if (hidden) write(SHOW)
      hidden = false
      drawn = []
    },
  }
}
