#include "storage/drivers/s3_internal.h"

#include <ctype.h>
#include <libxml/parser.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

/* --- URLs ------------------------------------------------------------------------------------------------------------------ */

#define DNS_LABEL_MAX 63

int s3_endpoint_parse(const char *endpoint, char **ret_scheme, char **ret_host, struct error *err)
{
	const char *host = strstr(endpoint, "://");
	size_t n = host ? (size_t)(host - endpoint) : 0, length;

	if (!(n == 4 && strncmp(endpoint, "http", n) == 0) && !(n == 5 && strncmp(endpoint, "https", n) == 0)) {
		err_set(err, ERR_CONFIG, "endpoint \"%s\" is not a URL", endpoint);
		return err_hint(err, "It must read \"https://host\" or \"https://host:port\".");
	}
	host += 3;
	length = strcspn(host, "/?# ");
	if (strchr(host, '@')) { /* not repeated: it may hold a secret */
		err_set(err, ERR_CONFIG, "an endpoint cannot hold a key or a password");
		return err_hint(err, "Set access_key_id and secret_access_key.");
	}
	if (length == 0 || (host[length] && strcmp(host + length, "/") != 0)) {
		err_set(err, ERR_CONFIG, "endpoint \"%s\" is more than a server", endpoint);
		return err_hint(err,
			"It must read \"https://host\" or \"https://host:port\"; the bucket stands in the repository's URL.");
	}
	*ret_scheme = mem_strndup(endpoint, n);
	*ret_host = mem_strndup(host, length);
	return 0;
}

bool s3_is_dns_name(const char *bucket)
{
	for (const char *c = bucket; *c; c++)
		if (!(islower((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '-'))
			return false;
	return strlen(bucket) <= DNS_LABEL_MAX && bucket[0] != '-';
}

void s3_unescape(char *text)
{
	char *to = text;

	for (const char *c = text; *c; c++) {
		unsigned char byte = 0;
		char digits[3] = {0};

		if (*c == '%' && isxdigit((unsigned char)c[1]) && isxdigit((unsigned char)c[2])) {
			memcpy(digits, c + 1, 2);
			byte = (unsigned char)strtoul(digits, NULL, 16);
			c += 2;
		} else {
			byte = (unsigned char)(*c == '+' ? ' ' : *c);
		}
		*to++ = (char)byte;
	}
	*to = '\0';
}

char *s3_unquote(const char *etag)
{
	size_t n = strlen(etag);

	return n >= 2 && etag[0] == '"' && etag[n - 1] == '"' ? mem_strndup(etag + 1, n - 2) : mem_strdup(etag);
}

/* --- times ----------------------------------------------------------------------------------------------------------------- */

int64_t s3_time_ms(const char *text)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *seconds cleanup(mem_freep) = NULL;
	int64_t at_ms = 0;

	if (!text)
		return 0;
	/* Fractions of any length are written; a second is all that is asked of them. */
	seconds = mem_printf("%.*sZ", (int)strcspn(text, ".Z"), text);
	return clock_parse(seconds, &at_ms, &err) < 0 ? 0 : at_ms;
}

int64_t s3_now_ms(const struct s3_answer *a)
{
	return a->http.date_ms ? a->http.date_ms : clock_utc_ms();
}

/* --- XML ------------------------------------------------------------------------------------------------------------------- */

static pthread_once_t xml_once = PTHREAD_ONCE_INIT;

xmlDocPtr s3_xml_parse(const struct buf *b)
{
	pthread_once(&xml_once, xmlInitParser);
	if (b->len == 0 || b->len > INT32_MAX)
		return NULL;
	/* No network, no entity is put in, and the parser's own limits hold. */
	return xmlReadMemory(b->data, (int)b->len, "answer", NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

void s3_xml_freep(xmlDocPtr *doc)
{
	if (*doc)
		xmlFreeDoc(*doc);
}

xmlNodePtr s3_xml_root(xmlDocPtr doc)
{
	return doc ? xmlDocGetRootElement(doc) : NULL;
}

bool s3_xml_named(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && xmlStrEqual(node->name, BAD_CAST name);
}

bool s3_xml_is(xmlDocPtr doc, const char *root)
{
	const xmlNode *node = s3_xml_root(doc);

	return node && s3_xml_named(node, root);
}

xmlNodePtr s3_xml_next(xmlNodePtr node)
{
	while (node && node->type != XML_ELEMENT_NODE)
		node = node->next;
	return node;
}

xmlNodePtr s3_xml_child(const xmlNode *parent, const char *name)
{
	for (xmlNodePtr n = parent ? parent->children : NULL; n; n = n->next)
		if (s3_xml_named(n, name))
			return n;
	return NULL;
}

char *s3_xml_text(const xmlNode *parent, const char *name)
{
	xmlNodePtr child = s3_xml_child(parent, name);
	xmlChar *text = child ? xmlNodeGetContent(child) : NULL;
	char *copy = text ? mem_strdup((const char *)text) : NULL;

	if (text)
		xmlFree(text);
	return copy;
}

void s3_xml_escape(const char *text, struct buf *out)
{
	for (const char *c = text; *c; c++) {
		switch (*c) {
		case '&':
			buf_puts(out, "&amp;");
			break;
		case '<':
			buf_puts(out, "&lt;");
			break;
		case '>':
			buf_puts(out, "&gt;");
			break;
		case '"':
			buf_puts(out, "&quot;");
			break;
		default:
			buf_putc(out, *c);
		}
	}
}
