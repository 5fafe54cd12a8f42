SET standard_conforming_strings = off;

--
-- TOC entry 2 (class 1 OID 2)
-- Name: c; Type: COMMENT; Schema: -; Owner: me
--

COMMENT ON TABLE t IS 'a\'; b';
CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);
