#include "storage/drivers/driver.h"

#include <string.h>

int driver_check_key(const char *key, struct error *err)
{
	const char *part = key;

	for (;;) {
		size_t n = strcspn(part, "/");

		if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
			return err_set(err, ERR_BUG, "\"%s\" cannot be the key of an object", key);
		if (!part[n])
			return 0;
		part += n + 1;
	}
}
