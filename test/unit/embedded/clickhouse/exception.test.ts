import { exceptionText, httpStatus, refuse, toException } from '../../../../src/embedded/clickhouse/exception';

it('takes the engine text apart, also when it is nested', () => {
  const inner = "Cannot parse input: expected '\"' before: 'zz': (at row 1)\n: While executing File";
  const text = `Code: 27. DB::Exception: Code: 27. DB::Exception: ${inner}. (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 26.7.2.1). (CANNOT_PARSE_INPUT_ASSERTION_FAILED)`;
  const exception = toException(new Error(text));
  expect(exception).toMatchObject({ code: 27, codeName: 'CANNOT_PARSE_INPUT_ASSERTION_FAILED', message: `${inner}.` });
  expect(httpStatus(exception)).toBe(400);
  expect(exceptionText(exception, '26.7.2.1')).toBe(
    `Code: 27. DB::Exception: ${inner}. (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 26.7.2.1)\n`,
  );
});

it('text without a code is a std::exception, and an exception stays what it is', () => {
  expect(toException(new Error('disk gone'))).toMatchObject({ code: 1001, codeName: 'STD_EXCEPTION', message: 'disk gone' });
  const own = refuse('READONLY', 'no');
  expect(toException(own)).toBe(own);
  expect(httpStatus(own)).toBe(500);
  expect(httpStatus(refuse('AUTHENTICATION_FAILED', 'no'))).toBe(403);
  expect(exceptionText(own, '1.2')).toBe('Code: 164. DB::Exception: no. (READONLY) (version 1.2)\n');
});
