export type MemberState = 'alive' | 'suspect' | 'dead' | 'left';
