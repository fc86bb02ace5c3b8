package consultest

import (
	"fmt"

	"github.com/hashicorp/consul/api"
)

// managementToken may do anything on an agent with [ACLs].
const managementToken = "5ecca11e-0000-4000-8000-000000000001"

// ACLs are the options of an agent that refuses whoever has no token for what they want.
func ACLs() Options {
	return Options{Token: managementToken, Config: map[string]any{"acl": map[string]any{
		"enabled": true, "default_policy": "deny",
		"tokens": map[string]any{"initial_management": managementToken, "agent": managementToken},
	}}}
}

// Token is one of an agent with [ACLs].
type Token struct {
	Secret string

	client *api.Client
	token  *api.ACLToken
	links  []*api.ACLLink
}

// NewToken makes a token with one policy, of these rules.
func (a *Agent) NewToken(name, rules string) (*Token, error) {
	client, err := a.Client()
	if err != nil {
		return nil, err
	}
	policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil)
	if err != nil {
		return nil, fmt.Errorf("consultest: policy %s: %w", name, err)
	}
	links := []*api.ACLLink{{ID: policy.ID}}
	token, _, err := client.ACL().TokenCreate(&api.ACLToken{Description: name, Policies: links}, nil)
	if err != nil {
		return nil, fmt.Errorf("consultest: token %s: %w", name, err)
	}
	return &Token{token.SecretID, client, token, links}, nil
}

// Deprive takes the policy from the token, which stays a valid one.
func (t *Token) Deprive() error { return t.update(nil) }

// Restore gives the policy back.
func (t *Token) Restore() error { return t.update(t.links) }

func (t *Token) update(links []*api.ACLLink) error {
	changed := *t.token
	changed.Policies = links
	if _, _, err := t.client.ACL().TokenUpdate(&changed, nil); err != nil {
		return fmt.Errorf("consultest: token %s: %w", t.token.Description, err)
	}
	return nil
}
