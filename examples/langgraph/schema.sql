-- A role and a schema of the graph's own, in the database of the bridge. Once, by an administrator:
--
--     psql "$BRIDGE_DATABASE_URL" --file schema.sql
--
-- The role sees no table of the bridge, and the bridge's roles see none of the graph's.
CREATE ROLE neuros_graph LOGIN;
CREATE SCHEMA neuros_graph AUTHORIZATION neuros_graph;
