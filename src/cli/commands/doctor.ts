// `pulse doctor`: looks at everything a start needs and says what is wrong and how to mend it.

import type { Command } from '../command.ts';
import type { Finding } from '../doctor.ts';
import { exitCode } from '../errors.ts';
import { formatTable } from '../output.ts';

const marks: Readonly<Record<Finding['status'], string>> = { ok: 'ok', warning: 'warn', failed: 'FAIL' };

export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'Check this machine and this set-up; every finding comes with its fix.',
  usage: ['doctor'],
  notes: ['Exit code 1 when a check fails. Safe beside a running Pulse; changes nothing.'],
  options: {},
  positionals: { min: 0, max: 0 },
  async run(context) {
    // Loaded late: the checks know every room's settings, and `pulse help` must not wait for those.
    const { runChecks } = await import('../doctor.ts');
    const findings = await runChecks({ environment: context.environment, url: context.options.text('url') });
    context.print({ healthy: findings.every((finding) => finding.status !== 'failed'), findings }, () => {
      const table = formatTable(findings, [
        { title: 'CHECK', value: (finding) => finding.check },
        { title: '', value: (finding) => marks[finding.status] },
        { title: 'FOUND', value: (finding) => finding.detail },
      ]);
      const fixes = findings
        .filter((finding) => finding.fix !== null)
        .map((finding) => `${finding.check}: ${finding.fix}`);
      return fixes.length === 0 ? table : [table, '', 'To do:', ...fixes.map((fix) => `- ${fix}`)].join('\n');
    });
    return findings.some((finding) => finding.status === 'failed') ? exitCode.failed : exitCode.ok;
  },
};
