import * as fc from 'fast-check';
import { identifier as sqlName, literal as sqlString } from '../../../src/core/clickhouse-sql';
import { asBytes, fromBytes, sqlTokens } from '../../../src/core/sql-tokens';

const texts = (sql: string): string[] => [...sqlTokens(sql)].map((token) => token.text);

describe('sqlTokens', () => {
  it('gives words in upper case, quotes whole and brackets with their depth', () => {
    expect([...sqlTokens("select `a b`, f('x', [1])")].map(({ kind, text, depth }) => [kind, text, depth])).toEqual([
      ['word', 'SELECT', 0],
      ['quoted', 'a b', 0],
      ['punctuation', ',', 0],
      ['word', 'F', 0],
      ['punctuation', '(', 0],
      ['string', "'x'", 1],
      ['punctuation', ',', 1],
      ['punctuation', '[', 1],
      ['word', '1', 2],
      ['punctuation', ']', 1],
      ['punctuation', ')', 0],
    ]);
  });

  it('skips comments, and finds none inside quotes', () => {
    expect(texts("a -- b\n# c\n/* d 'e */ 'f -- g' \"/* h */\"")).toEqual(['A', "'f -- g'", '/* h */']);
  });

  it('knows doubled quotes, backslashes and heredocs', () => {
    expect(texts(`'it''s' 'a\\'b' $$ x ' $$ y`)).toEqual([`'it''s'`, `'a\\'b'`, "$$ x ' $$", 'Y']);
  });

  it('an open quote or comment reaches to the end', () => {
    expect(texts("a 'b c")).toEqual(['A', "'b c"]);
    expect(texts('a /* b')).toEqual(['A']);
  });

  it('covers any text with tokens that follow each other', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'a B 1 \n \' " ` \\ $ - / * # ; ( ) [ ] { } é'.split(' '), ' ') }),
        (sql) => {
          let at = 0;
          for (const token of sqlTokens(sql)) {
            expect(token.start).toBeGreaterThanOrEqual(at);
            expect(token.end).toBeGreaterThan(token.start);
            expect(token.end).toBeLessThanOrEqual(sql.length);
            at = token.end;
          }
        },
      ),
    );
  });
});

describe('quoting', () => {
  it('makes one literal and one name of any text, so that it cannot leave its quotes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const [literal, ...more] = sqlTokens(asBytes(`${sqlString(text)};`));
        expect(literal?.kind).toBe('string');
        expect(more.map((token) => token.text)).toEqual([';']);
        const [name, ...rest] = sqlTokens(asBytes(`${sqlName(text)};`));
        expect(name?.kind).toBe('quoted');
        expect(rest.map((token) => token.text)).toEqual([';']);
      }),
    );
  });

  it('text survives the form of bytes', () => {
    expect(fromBytes(asBytes('é\u{1f600} x'))).toBe('é\u{1f600} x');
  });
});
