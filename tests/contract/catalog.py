"""What the schema may hold, asked of the database's own catalog. Each query gives what is wrong."""

from typing import Final

PROCESS_ROLES: Final = ("strongroom_api", "strongroom_worker")
LOG_ROLES: Final = ("strongroom_sequencer", "strongroom_signer")
"""Those of the log, which have nothing to do with the keys."""
OURS: Final = "('strongroom', 'directory')"

WRONG: Final = {
    "a primary key or unique index that does not start with legal_entity_id": """
        SELECT i.indexrelid::regclass::text FROM pg_index i
        JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
        WHERE n.nspname = 'strongroom' AND i.indisunique
          AND a.attname IS DISTINCT FROM 'legal_entity_id'""",
    "a table without a primary key": f"""
        SELECT t.oid::regclass::text FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE n.nspname IN {OURS} AND t.relkind IN ('r', 'p')
          AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)""",
    "an id that is no uuid": """
        SELECT t.oid::regclass || '.' || a.attname FROM pg_class t
        JOIN pg_namespace n ON n.oid = t.relnamespace JOIN pg_attribute a ON a.attrelid = t.oid
        WHERE n.nspname = 'strongroom' AND t.relkind IN ('r', 'p') AND a.attnum > 0
          AND NOT a.attisdropped AND a.atttypid <> 'uuid'::regtype AND a.attname LIKE '%\\_id'
          AND a.attname NOT IN ('gateway_object_id', 'gateway_event_id')""",
    "a foreign key": f"""
        SELECT c.conname::text FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
        WHERE n.nspname IN {OURS} AND c.contype = 'f'""",
    "a trigger": f"""
        SELECT g.tgname::text FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
        JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE n.nspname IN {OURS} AND NOT g.tgisinternal""",
    "a sequence": f"""
        SELECT t.oid::regclass::text FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE n.nspname IN {OURS} AND t.relkind = 'S'""",
    "a function": f"""
        SELECT p.oid::regprocedure::text FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN {OURS}""",
    "a view or materialised view": f"""
        SELECT t.oid::regclass::text FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE n.nspname IN {OURS} AND t.relkind IN ('v', 'm')""",
    "a table without forced row-level security": """
        SELECT t.oid::regclass::text FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE n.nspname = 'strongroom' AND t.relkind IN ('r', 'p') AND NOT t.relispartition
          AND NOT (t.relrowsecurity AND t.relforcerowsecurity)""",
    "a table without a policy": """
        SELECT t.oid::regclass::text FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE n.nspname = 'strongroom' AND t.relkind IN ('r', 'p') AND NOT t.relispartition
          AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid)""",
    "a partition that a process may touch": """
        SELECT t.oid::regclass || ' by ' || r.rolname FROM pg_class t
        JOIN pg_namespace n ON n.oid = t.relnamespace
        CROSS JOIN pg_roles r
        WHERE n.nspname = 'strongroom' AND t.relispartition AND t.relkind = 'r'
          AND r.rolname IN ('strongroom_api', 'strongroom_worker',
          'strongroom_sequencer', 'strongroom_signer')
          AND has_table_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')""",
    "a role with more power than a process needs": """
        SELECT rolname::text FROM pg_roles
        WHERE rolname IN ('strongroom_api', 'strongroom_worker',
          'strongroom_sequencer', 'strongroom_signer')
          AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
            OR rolcanlogin)""",
    "a process role that is a member of another": """
        SELECT m.roleid::regrole || ' of ' || m.member::regrole FROM pg_auth_members m
        WHERE m.member::regrole::text IN ('strongroom_api', 'strongroom_worker',
          'strongroom_sequencer', 'strongroom_signer')""",
    "something that a process role owns": """
        SELECT d.classid::regclass || ' ' || d.objid FROM pg_shdepend d
        WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o'
          AND d.refobjid::regrole::text IN ('strongroom_api', 'strongroom_worker',
          'strongroom_sequencer', 'strongroom_signer')""",
    "a right of everybody": f"""
        SELECT t.oid::regclass || ' ' || x.privilege_type FROM pg_class t
        JOIN pg_namespace n ON n.oid = t.relnamespace, aclexplode(t.relacl) x
        WHERE n.nspname IN {OURS} AND x.grantee = 0""",
    "a right that can be handed on": f"""
        SELECT t.oid::regclass || ' ' || x.privilege_type FROM pg_class t
        JOIN pg_namespace n ON n.oid = t.relnamespace, aclexplode(t.relacl) x
        WHERE n.nspname IN {OURS} AND x.is_grantable AND x.grantee <> t.relowner""",
    "a schema in which a process may create": f"""
        SELECT n.nspname || ' by ' || r.rolname FROM pg_namespace n CROSS JOIN pg_roles r
        WHERE (n.nspname IN {OURS} OR n.nspname = 'public')
          AND r.rolname IN ('strongroom_api', 'strongroom_worker',
          'strongroom_sequencer', 'strongroom_signer')
          AND has_schema_privilege(r.oid, n.oid, 'CREATE')""",
    "an index over what changes in a payment": """
        SELECT i.indexrelid::regclass || ': ' || a.attname FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = 'strongroom.payments'::regclass AND a.attname NOT IN
          ('legal_entity_id', 'payment_id', 'merchant_reference', 'created_at')""",
}  # fmt: skip

POLICIES: Final = """
    SELECT p.polrelid::regclass || '.' || p.polname AS name, p.polpermissive AS widens,
      pg_get_expr(p.polqual, p.polrelid) AS qual, pg_get_expr(p.polwithcheck, p.polrelid) AS checked
    FROM pg_policy p JOIN pg_class t ON t.oid = p.polrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = 'strongroom'"""

GRANTS: Final = f"""
    SELECT x.grantee::regrole::text AS role, n.nspname || '.' || t.relname AS "table",
      array_agg(x.privilege_type ORDER BY x.privilege_type)::text[] AS rights
    FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace, aclexplode(t.relacl) x
    WHERE n.nspname IN {OURS} AND x.grantee <> t.relowner GROUP BY 1, 2"""  # fmt: skip

COLUMN_GRANTS: Final = f"""
    SELECT x.grantee::regrole::text AS role, n.nspname || '.' || t.relname AS "table",
      x.privilege_type || CASE WHEN x.is_grantable THEN ' to hand on' ELSE '' END AS "right",
      array_agg(a.attname ORDER BY a.attname)::text[] AS columns
    FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace, aclexplode(a.attacl) x
    WHERE n.nspname IN {OURS} GROUP BY 1, 2, 3"""  # fmt: skip


def reads_setting_per_row(expression: str | None) -> bool:
    """Whether a policy reads a setting outside of a sub-select, so once for each row."""
    if expression is None or "current_setting" not in expression:
        return False
    depth, selects = 0, list[int]()
    for index, character in enumerate(expression):
        if character == "(":
            depth += 1
            if expression[index + 1 :].lstrip().upper().startswith("SELECT"):
                selects.append(depth)
        elif character == ")":
            if selects and selects[-1] == depth:
                selects.pop()
            depth -= 1
        elif expression.startswith("current_setting", index) and not selects:
            return True
    return False
