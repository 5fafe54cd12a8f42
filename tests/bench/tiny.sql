-- Many tables: n tiny ones, each with a primary key, a secondary index, a sequence, defaults, a comment and five rows.
--   psql -d DB -v n=10000 -f tiny.sql       the server's max_locks_per_transaction must let pg_dump lock them all
SET client_min_messages = warning;
SET synchronous_commit = off;
CREATE PROCEDURE make_tables(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN first..last LOOP
		EXECUTE format('CREATE TABLE t%s (id bigserial PRIMARY KEY, tenant int NOT NULL DEFAULT 1, name text NOT NULL,'
			' data jsonb, created_at timestamptz DEFAULT now())', i);
		EXECUTE format('CREATE INDEX ON t%s (tenant, created_at)', i);
		EXECUTE format('COMMENT ON TABLE t%s IS %L', i, 'tiny table ' || i);
		EXECUTE format('INSERT INTO t%s (name, data)'
			' SELECT ''row '' || g, jsonb_build_object(''k'', g) FROM generate_series(1, 5) g', i);
		IF i % 200 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;
CALL make_tables(1, :n);
DROP PROCEDURE make_tables;
VACUUM ANALYZE;
