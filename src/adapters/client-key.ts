/** Whom shares of the server are counted for. Clients behind one proxy have its address in common. */

/** An IPv4 address is the same through a socket of either kind. */
export const clientOfAddress = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '');

/** From what grpc-js calls the peer, `address:port`. */
export const clientOfPeer = (peer: string): string => clientOfAddress(peer.replace(/:\d+$/, ''));
