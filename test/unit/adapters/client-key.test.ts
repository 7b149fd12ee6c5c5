import { clientOfAddress, clientOfPeer } from '../../../src/adapters/client-key';

test.each([
  ['10.0.0.1:4711', '10.0.0.1'],
  ['::ffff:10.0.0.1:4711', '10.0.0.1'],
  ['2001:db8::7:4711', '2001:db8::7'],
])('the peer %s is the client %s, whatever its port', (peer, client) => {
  expect(clientOfPeer(peer)).toBe(client);
});

test('an address is the same client on a socket of either kind, and none is one for all', () => {
  expect([clientOfAddress('::ffff:10.0.0.1'), clientOfAddress('10.0.0.1'), clientOfAddress(undefined)]).toEqual([
    '10.0.0.1',
    '10.0.0.1',
    '',
  ]);
});
