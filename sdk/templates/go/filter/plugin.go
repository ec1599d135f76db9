// Passes orders whose amount is above the setting min.
package main

import "strconv"

var (
	amount Column
	min    int64 = 100
)

func init() {
	Configure = func(binding Binding, needs *Needs) error {
		amount = needs.Property("amount")
		needs.Pure = true
		if text, ok := binding.Param("min"); ok {
			number, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return err
			}
			min = number
		}
		return nil
	}

	Filter = func(message Message) Verdict {
		if value, ok := message.Int(amount); ok && value > min {
			return Pass
		}
		return Drop
	}
}

func main() {}
