import { describe, expect, it } from 'vitest'
import { ERRORS } from '../../src/core/errors.ts'
import { judgeSlot, type Slot, type SlotMemory, type SlotState } from '../../src/core/slot-health.ts'

const slot: Slot = {
  name: 'rekey', plugin: 'pgoutput', database: 'app', temporary: false, activePid: null, activeIsOurs: false, walStatus: 'reserved',
  restartLsn: 80n, confirmedLsn: 100n, invalidation: null, synced: false, safeWalBytes: null, retainedBytes: 20n,
}
const memory: SlotMemory = { endLsn: 100n, sourceSystem: '7', sourceTimeline: 1, database: 'app' }
const state = (change: Partial<Slot> = {}): SlotState => ({ systemId: '7', timeline: 1, history: new Map(), slot: { ...slot, ...change } })

const promoted: SlotState = { ...state({ synced: true }), timeline: 3, history: new Map([[1, 100n], [2, 500n]]) }

describe('judgeSlot', () => {
  it.each<[string, SlotState, string, string | undefined]>([
    ['a slot at the checkpoint', state(), 'ok', undefined],
    ['a slot that stepped back after a crash', state({ confirmedLsn: 90n }), 'ok', undefined],
    ['a slot near its limit', state({ walStatus: 'unreserved', safeWalBytes: -1n }), 'ok', undefined],
    ['another server', { ...state(), systemId: '8' }, 'timeline', 'TIMELINE'],
    ['another timeline', { ...state(), timeline: 2 }, 'timeline', 'TIMELINE'],
    ['a promoted standby without the slot', { ...promoted, slot: null }, 'timeline', 'TIMELINE'],
    ['a promoted standby with a slot that was not kept in step', { ...promoted, slot }, 'timeline', 'TIMELINE'],
    ['a promoted standby with the slot', promoted, 'ok', undefined],
    ['a promoted standby that lacks what was applied', { ...promoted, history: new Map([[1, 99n]]) }, 'timeline', 'TIMELINE'],
    ['a promoted standby of another past', { ...promoted, history: new Map([[2, 500n]]) }, 'timeline', 'TIMELINE'],
    ['a promoted standby whose slot is lost', { ...promoted, slot: { ...slot, synced: true, invalidation: 'wal_removed' } }, 'lost', 'SLOT_LOST'],
    ['no slot', { ...state(), slot: null }, 'missing', 'SLOT_MISSING'],
    ['removed WAL', state({ walStatus: 'lost' }), 'lost', 'SLOT_LOST'],
    ['no restart address', state({ restartLsn: null }), 'lost', 'SLOT_LOST'],
    ['an idle timeout', state({ invalidation: 'idle_timeout' }), 'lost', 'SLOT_LOST'],
    ['a slot that was moved on', state({ confirmedLsn: 101n }), 'ahead', 'SLOT_AHEAD'],
    ['a slot made anew', state({ restartLsn: 150n, confirmedLsn: 160n }), 'recreated', 'SLOT_RECREATED'],
    ['a slot of another plugin', state({ plugin: 'wal2json' }), 'recreated', 'SLOT_RECREATED'],
    ['a slot of another database', state({ database: 'other' }), 'recreated', 'SLOT_RECREATED'],
    ['a slot with a reader', state({ activePid: 42 }), 'in use', 'SLOT_IN_USE'],
  ])('%s', (_name, input, expected, code) => {
    const health = judgeSlot(input, memory)
    expect(health.state).toBe(expected)
    expect(health.state === 'ok' ? undefined : health.code).toBe(code)
    if (health.state !== 'ok') expect(ERRORS[health.code].hint).not.toBe('')
  })

  it('names the gap and the reader', () => {
    const ahead = judgeSlot(state({ confirmedLsn: 0x1_0000_00ffn }), memory)
    expect(ahead).toMatchObject({ message: 'slot rekey was moved on; changes of 0/64 to 1/FF cannot be read' })
    expect(judgeSlot(state({ activePid: 42, activeIsOurs: true }), memory)).toMatchObject({ pid: 42,
      message: expect.stringContaining('a rekey') })
  })
})
