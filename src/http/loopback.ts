/** Addresses that only this machine can send from and to. */

/** An address, not a name; IPv4 may be mapped into IPv6. */
export const isLoopback = (address: string): boolean =>
  address === '::1' || /^(?:::ffff:)?127(?:\.\d{1,3}){3}$/i.test(address);

/** As a host to listen on. */
export const isLoopbackHost = (host: string): boolean => host === 'localhost' || isLoopback(host);
