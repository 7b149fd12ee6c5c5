/**
 * What happens to rows with abnormal labels. `side_column`: the abnormal ones become one label `_overflow`, a JSON object, beside the
 * others; `truncate`: they are cut, which a label `_truncated` tells; `dead_letter`: the row is parked.
 */
export const LABEL_POLICIES = ['side_column', 'truncate', 'dead_letter'] as const;
export type LabelPolicy = (typeof LABEL_POLICIES)[number];
