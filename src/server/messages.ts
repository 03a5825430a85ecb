// What the supervisor and its two children say to each other over their pipe. Secrets travel here, not in variables.

import type { Role } from './config.ts';
import type { AllSettings } from './settings.ts';

/** Everything a child needs to start. */
export interface ChildConfiguration {
  readonly part: 'front' | 'worker';
  readonly roles: readonly Role[];
  readonly settings: AllSettings;
  readonly dataDirectory: string;
  readonly databaseUrl: string;
  readonly adminToken: string;
}

export type ToChild =
  | { readonly type: 'start'; readonly configuration: ChildConfiguration }
  /** Where the worker's health server listens; null while there is no worker. */
  | { readonly type: 'worker'; readonly url: string | null }
  | { readonly type: 'stop' };

export type FromChild =
  | { readonly type: 'ready'; readonly url: string }
  | { readonly type: 'failed'; readonly code: string; readonly message: string; readonly next: string }
  | { readonly type: 'stopped' };
