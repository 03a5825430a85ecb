// The store's name in positions, counts and errors, and as a consumer group.

/** Name of this stage. */
export const stage = 'store';
