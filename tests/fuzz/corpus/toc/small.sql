--
-- PostgreSQL database dump
--

\restrict abc

SET statement_timeout = 0;
SET standard_conforming_strings = on;

SET default_tablespace = '';

--
-- TOC entry 215 (class 1259 OID 16401)
-- Dependencies: 7 9
-- Name: t; Type: TABLE; Schema: public; Owner: me
--

CREATE TABLE public.t (
    id integer NOT NULL,
    "n""a;me" text DEFAULT 'a;''b'::text
);


ALTER TABLE public.t OWNER TO me;

SET default_tablespace = ts;

--
-- TOC entry 216 (class 1255 OID 16402)
-- Name: f(); Type: FUNCTION; Schema: public; Owner: me
--

CREATE OR REPLACE FUNCTION public.f() RETURNS text
    LANGUAGE plpgsql
    AS $body$
begin
--
-- TOC entry 1 (class 1259 OID 1)
-- Name: t; Type: TABLE; Schema: public; Owner: me
--
	return E'it\'s; ' || U&"a"; /* a /* nested */ comment; */
end;
$body$;

CREATE FUNCTION public.g() RETURNS integer
    LANGUAGE sql
    BEGIN ATOMIC
 SELECT CASE WHEN true THEN 1 ELSE 2 END;
 SELECT 3;
END;

--
-- TOC entry 217 (class 2606 OID 16403)
-- Dependencies: 215 215
-- Name: t t_pkey; Type: CONSTRAINT; Schema: public; Owner: me
--

ALTER TABLE ONLY public.t
    ADD CONSTRAINT t_pkey PRIMARY KEY (id);


-- Completed on 2026-11-21

\unrestrict abc
