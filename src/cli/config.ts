// Settings that only the command line reads.
import { text } from '../core/settings.ts';

export const cliSettings = {
  PULSE_API_KEY: text({
    help: 'Credential of command-line calls (an API key or the admin token); the servers ignore it.',
    defaultValue: '',
    secret: true,
    pattern: /^[\x21-\x7e]{1,512}$/,
    allowed: '1 to 512 visible ASCII characters',
  }),
} as const;
