BEGIN;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO bridge_service;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO bridge_service;
REVOKE UPDATE, DELETE ON phi_access_log FROM bridge_service;
REVOKE INSERT, UPDATE, DELETE ON seaql_migrations FROM bridge_service;
GRANT SELECT ON phi_access_log, lanes, seaql_migrations TO bridge_auditor;
COMMIT;
