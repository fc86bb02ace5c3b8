package surecall

import (
	_ "github.com/hashicorp/consul/api"
	_ "github.com/sony/gobreaker/v2"
	_ "golang.org/x/time/rate"
)
