// Finds, from the catalogue itself, every known way around row-level security.

import { definerFunctions, type Exemption, extraPolicies, platformTables } from './exemptions.ts';
import type { Queryable } from './types.ts';

/** A table or function that breaks the rule, and which rule. */
export interface Violation {
  readonly name: string;
  readonly rule: string;
}

/**
 * Lists what breaks the rules of tenant isolation and is not in the list of exemptions; empty when all is well.
 * Shape: ordered by rule and name. Works as any role, since the catalogue is open.
 */
export async function findViolations(client: Pick<Queryable, 'query'>): Promise<readonly Violation[]> {
  const { rows } = await client.query<Violation>(RULES, [
    names(platformTables),
    names(extraPolicies),
    names(definerFunctions),
    POLICY,
  ]);
  return rows;
}

function names(exemptions: readonly Exemption[]): string[] {
  return exemptions.map((exemption) => exemption.name);
}

/** The expression of `tenant_isolation` as Postgres prints it with `public` on the search path. */
const POLICY = '(tenant_id = ANY (( SELECT pulse_tenants() AS pulse_tenants)::text[]))';

// relation: every table, partition, view, materialized view and foreign table of ours. $1 to $3: exemptions; $4: the policy.
const RULES = `
WITH relation AS (
  SELECT c.*, c.oid::regclass::text AS name, tenant.attnum AS tenant_column
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute tenant ON tenant.attrelid = c.oid AND tenant.attname = 'tenant_id' AND NOT tenant.attisdropped
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
), tenant_table AS (
  SELECT * FROM relation WHERE relkind IN ('r', 'p') AND tenant_column IS NOT NULL
), policy AS (
  SELECT t.name || '.' || p.polname AS name, p.*,
         pg_get_expr(p.polqual, p.polrelid) AS using_text, pg_get_expr(p.polwithcheck, p.polrelid) AS check_text,
         EXISTS (SELECT FROM unnest(p.polroles) role
                 WHERE role = 0 OR pg_has_role('pulse_app', role, 'MEMBER')) AS binds_app
  FROM pg_policy p JOIN relation t ON t.oid = p.polrelid
), definer AS (
  SELECT f.oid::regprocedure::text AS name, f.proconfig
  FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
  WHERE f.prosecdef AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
)
SELECT name, 'row-level security is not enabled' AS rule FROM tenant_table WHERE NOT relrowsecurity
UNION ALL
SELECT name, 'row-level security is not forced' FROM tenant_table WHERE NOT relforcerowsecurity
UNION ALL
SELECT name, 'the policy tenant_isolation is missing or differs' FROM tenant_table t
  WHERE NOT EXISTS (SELECT FROM policy p WHERE p.polrelid = t.oid AND p.polname = 'tenant_isolation' AND p.polcmd = '*'
                    AND p.polpermissive AND p.polroles = '{0}' AND p.using_text = $4 AND p.check_text = $4)
UNION ALL
SELECT name, 'a further policy opens the table to pulse_app' FROM policy
  WHERE polname <> 'tenant_isolation' AND polpermissive AND binds_app
UNION ALL
SELECT name, 'the policy is in no list of exemptions' FROM policy
  WHERE polname <> 'tenant_isolation' AND polpermissive AND name <> ALL ($2::text[])
UNION ALL
SELECT name, 'the table has no tenant_id and is in no list of exemptions' FROM relation
  WHERE relkind IN ('r', 'p') AND tenant_column IS NULL AND name <> ALL ($1::text[])
UNION ALL
SELECT name, 'a materialized view ignores row-level security' FROM relation WHERE relkind = 'm'
UNION ALL
SELECT name, 'a foreign table has no row-level security' FROM relation WHERE relkind = 'f'
UNION ALL
SELECT name, 'the view runs with the rights of its owner' FROM relation
  WHERE relkind = 'v' AND NOT coalesce(reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}', false)
UNION ALL
SELECT name, 'pulse_app may TRUNCATE it' FROM relation
  WHERE relkind IN ('r', 'p') AND has_table_privilege('pulse_app', oid, 'TRUNCATE')
UNION ALL
SELECT name, 'pulse_app owns it' FROM relation WHERE pg_has_role('pulse_app', relowner, 'MEMBER')
UNION ALL
SELECT t.name || ' (' || i.indexrelid::regclass::text || ')', 'a unique index does not begin with tenant_id'
  FROM tenant_table t JOIN pg_index i ON i.indrelid = t.oid
  WHERE i.indisunique AND i.indkey[0] <> t.tenant_column
UNION ALL
SELECT name, 'the SECURITY DEFINER function is in no list of exemptions' FROM definer WHERE name <> ALL ($3::text[])
UNION ALL
SELECT name, 'the SECURITY DEFINER function does not pin its search_path to pg_catalog, pg_temp' FROM definer
  WHERE NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)
UNION ALL
SELECT nspname, 'pulse_app may create objects in the schema' FROM pg_namespace
  WHERE nspname NOT LIKE 'pg\\_%' AND has_schema_privilege('pulse_app', oid, 'CREATE')
ORDER BY rule, name`;
